import { closeSync, lstatSync, unlinkSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { connectUnix, listenUnix } from '../../host/unix-sockets.ts';

/** Longest path in bytes: `_` and a port are appended for connections of the guest. */
export const VSOCK_PATH_BYTES_MAX = 96;

/** The socket file that programs of the host connect to. */
export interface VsockSocketFile {
  readonly path: string;
  /** The listening socket. */
  readonly fd: number;
  /** Closes the socket and removes the file, unless another one has its name now. */
  close(): void;
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
 * Creates the socket file of a socket device. A file that a dead VM has left is replaced.
 * @throws TsvmError `invalid-config` that says what is wrong with the path
 */
export function openVsockSocket(path: string): VsockSocketFile {
  if (Buffer.byteLength(path) > VSOCK_PATH_BYTES_MAX) {
    fail(`the vsock socket ${path}: the path is longer than ${VSOCK_PATH_BYTES_MAX} bytes`);
  }
  let fd: number;
  try {
    fd = listen(path);
  } catch (error) {
    if (codeOf(error) === 'EADDRINUSE') {
      fail(
        `the vsock socket ${path} exists: another VM may use it, or it is another kind of file; ` +
          'choose another path or remove it',
        error,
      );
    }
    fail(`the vsock socket ${path} cannot be created: ${codeOf(error)}`, error);
  }
  const { dev, ino } = lstatSync(path);
  return {
    path,
    fd,
    close: () => {
      closeSync(fd);
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now?.dev === dev && now.ino === ino) unlinkSync(path);
    },
  };
}
