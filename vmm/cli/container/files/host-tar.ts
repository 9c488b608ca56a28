/** tar(1) of the host, which makes archives of the host's files and unpacks those of containers. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { ArchivePipe } from '../../../container/agent/agent-socket.ts';
import { TsvmError } from '../../../errors.ts';
import { makePipe } from '../../../host/archive-pump.ts';
import { hasCode } from '../../../util/error-code.ts';

const ERROR_CHARACTERS_MAX = 2_000;
/** Without extended headers for what a copy has no use for. */
const CREATE = ['--create', '--file=-', '--format=pax', '--pax-option=delete=atime,delete=ctime'];
/** How much is read and written at once, in blocks of 512 bytes. */
const RECORDS = '--blocking-factor=512';

export interface Unpacking {
  /** Where to; exists. */
  readonly folder: string;
  /** Owners are those of the archive; otherwise this user. */
  readonly keepOwners: boolean;
  /** Leaves out this many leading parts of names. */
  readonly stripParts: number;
}

function started(child: ChildProcess): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let errors = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(0, ERROR_CHARACTERS_MAX);
  });
  child.once('error', (cause) => {
    reject(new TsvmError('invalid-config', `tar cannot be started: ${cause.message}`, { cause }));
  });
  child.once('close', (code) => {
    const [first = `exit code ${code}`] = errors.trim().split('\n');
    if (code === 0) resolve();
    else reject(new TsvmError('invalid-config', first.replace(/^tar: /, '')));
  });
  // The promise may be awaited later than it is rejected.
  promise.catch(() => {});
  return promise;
}

/**
 * Unpacks an archive that a guest has made. GNU tar follows no link that the archive has made, and no
 * name leads out of the folder. It runs without the capability to make devices.
 * @returns bytes of the archive
 * @throws TsvmError, AgentError
 */
export async function unpackArchive(archive: ArchivePipe, unpacking: Unpacking): Promise<number> {
  const { folder, keepOwners, stripParts } = unpacking;
  const isRoot = process.geteuid?.() === 0;
  const words = [
    ...(isRoot ? ['setpriv', '--bounding-set=-mknod', '--inh-caps=-mknod', '--'] : []),
    ...['tar', '--extract', '--file=-', RECORDS],
    ...['--preserve-permissions', '--delay-directory-restore'],
    ...(keepOwners ? ['--same-owner', '--numeric-owner'] : ['--no-same-owner']),
    ...(stripParts > 0 ? [`--strip-components=${stripParts}`] : []),
    ...['-C', folder],
  ];
  const [program = '', ...rest] = words;
  const child = spawn(program, rest, { stdio: [archive.fd, 'ignore', 'pipe'] });
  closeSync(archive.fd);
  const done = started(child);
  try {
    const bytes = await archive.done;
    await done;
    return bytes;
  } catch (error) {
    // If tar has given up, it says why; else what it says of an archive that breaks off is no help.
    if (hasCode(error, 'EPIPE')) await done;
    await done.catch(() => {});
    throw error;
  }
}

export interface PackedArchive {
  /** A pipe to read from; the reader closes it. */
  readonly fd: number;
  /** Rejects when a file could not be read. */
  readonly done: Promise<void>;
}

/**
 * Packs a file or folder under another name.
 * @param contents only what is in the folder, not the folder itself
 */
export function packArchive(
  folder: string,
  name: string,
  as: string,
  contents: boolean,
): PackedArchive {
  // In a replacement of sed's, these three have a meaning.
  const target = as.replace(/[\\&,]/g, '\\$&');
  const isWhole = name === '.';
  const transform = isWhole ? `s,^\\.,${contents ? '.' : target},S` : `s,^.*$,${target},S`;
  const words = [...CREATE, RECORDS, `--transform=${transform}`, '-C', folder, '--', name];
  const [fd, writer] = makePipe();
  const child = spawn('tar', words, { stdio: ['ignore', writer, 'pipe'] });
  closeSync(writer);
  return { fd, done: started(child) };
}
