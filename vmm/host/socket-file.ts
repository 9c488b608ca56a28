import { closeSync, lstatSync, unlinkSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import { connectUnix, listenUnix } from './unix-sockets.ts';
import { writeProblem } from './write-problem.ts';

/** Longest path in bytes: `sun_path` of unix(7), without its NUL. */
export const SOCKET_PATH_BYTES_MAX = 107;

/** A socket file that programs of the host connect to. */
export interface SocketFile {
  readonly path: string;
  /** The listening socket. */
  readonly fd: number;
  /** Closes the socket and removes the file, unless another one has its name now. */
  close(): void;
  /** As {@link close}, for a socket that is closed elsewhere. */
  remove(): void;
}

function fail(message: string, cause?: unknown): never {
  throw new TsvmError('invalid-config', message, { cause });
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

/** True when the file is a socket that nobody listens on: its VM has died. */
function isStale(path: string): boolean {
  if (!lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return false;
  try {
    closeSync(connectUnix(path));
    return false;
  } catch (error) {
    return codeOf(error) === 'ECONNREFUSED';
  }
}

function listen(path: string): number {
  try {
    return listenUnix(path);
  } catch (error) {
    if (codeOf(error) !== 'EADDRINUSE' || !isStale(path)) throw error;
  }
  unlinkSync(path);
  return listenUnix(path);
}

/**
 * Creates a socket file. One that a dead VM has left is replaced.
 * @param what names it in messages
 * @throws TsvmError `invalid-config` that says what is wrong with the path
 */
export function openSocketFile(
  what: string,
  path: string,
  pathBytesMax = SOCKET_PATH_BYTES_MAX,
): SocketFile {
  if (Buffer.byteLength(path) > pathBytesMax) {
    fail(`${what} ${path}: the path is longer than ${pathBytesMax} bytes`);
  }
  let fd: number;
  try {
    fd = listen(path);
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') {
      fail(
        `${what} ${path} exists: another VM may use it, or it is another kind of file; ` +
          'choose another path or remove it',
        error,
      );
    }
    fail(`${what} ${path} cannot be created (${writeProblem(error)}): choose another path`, error);
  }
  const { dev, ino } = lstatSync(path);
  const remove = () => {
    const now = lstatSync(path, { throwIfNoEntry: false });
    if (now?.dev !== dev || now.ino !== ino) return;
    try {
      unlinkSync(path);
    } catch (error) {
      // A process in its sandbox may not: its cleaner does, when the process has ended.
      if (codeOf(error) !== 'EACCES') throw error;
    }
  };
  return {
    path,
    fd,
    remove,
    close: () => {
      closeSync(fd);
      remove();
    },
  };
}
