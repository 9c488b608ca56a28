/**
 * The folder of a running machine, NAME in the folder of all machines:
 *
 * ```
 * lock           byte 0: locked by whoever creates, uses or removes the folder
 *                byte 1: locked by the machine's process as long as it lives, however it ends
 * machine.json   a MachineRecord
 * control.sock   the API of the machine
 * ```
 *
 * The lock of byte 1 alone proves that a machine runs: a record or a socket may be left over, and who
 * has byte 0 may be a command that removes what a dead machine left. It removes the lock file last, so
 * a file that was locked under its name is not removed by another process.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { type FileLocks, tryLockFile } from '../../host/file-locks.ts';
import { runtimeFolder, stateFolder } from '../../host/folders.ts';
import { hostFiles } from '../../host/host-files.ts';
import { ensurePrivateFolder } from '../../host/private-folder.ts';
import { fsPath } from '../../util/byte-names.ts';
import { hasCode } from '../../util/error-code.ts';
import { checkMachineName } from './machine-name.ts';

const LOCK = 'lock';
const RECORD = 'machine.json';
const SOCKET = 'control.sock';

const RECORD_VERSION = 1;
const RECORD_MAX_BYTES = 64 * 1024;

const OWNER_BYTE = 0;
const ALIVE_BYTE = 1;

/** Upper bound of the time for which a command that removes a dead machine's folder holds its lock. */
const REMOVAL_MS = 20;
const CLAIM_ATTEMPTS = 10;

/** What the record tells about a machine without contacting it. */
export interface MachineRecord {
  readonly version: typeof RECORD_VERSION;
  readonly name: string;
  readonly pid: number;
  /** Start of the process in ms since 1970. */
  readonly startedMs: number;
  /** The log file of a machine in the background. */
  readonly logPath?: string;
}

/** Folder of all running machines; undefined for a user who has no folder for it. */
export function machinesFolder(): string | undefined {
  const runtime = runtimeFolder();
  if (runtime !== undefined) return join(runtime, 'machines');
  // Without a login session there is no XDG_RUNTIME_DIR.
  const state = stateFolder();
  return state === undefined ? undefined : join(state, 'run', 'machines');
}

export function lockPath(folder: string): string {
  return join(folder, LOCK);
}

export function socketPath(folder: string): string {
  return join(folder, SOCKET);
}

/** True while the machine's process is alive. */
export function isMachineAlive(folder: string, locks: FileLocks = hostFiles()): boolean {
  let fd: number;
  try {
    fd = openSync(fsPath(lockPath(folder)), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR', 'ELOOP')) return false;
    throw error;
  }
  try {
    return locks.isFileLocked(fd, true, ALIVE_BYTE, 1);
  } finally {
    closeSync(fd);
  }
}

/** Undefined if there is none yet or it is damaged. */
export function readMachineRecord(folder: string): MachineRecord | undefined {
  try {
    const path = fsPath(join(folder, RECORD));
    if (statSync(path).size > RECORD_MAX_BYTES) return undefined;
    const record: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isMachineRecord(record) ? record : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw error;
  }
}

function isMachineRecord(value: unknown): value is MachineRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { version, name, pid, startedMs, logPath } = value as Record<string, unknown>;
  return (
    version === RECORD_VERSION &&
    typeof name === 'string' &&
    Number.isSafeInteger(pid) &&
    Number(pid) > 0 &&
    typeof startedMs === 'number' &&
    (logPath === undefined || typeof logPath === 'string')
  );
}

/** Removes the folder of a machine whose process has ended. Does nothing if a process has its lock. */
export function removeDeadMachine(folder: string): void {
  const fd = tryLockFolder(folder);
  if (typeof fd === 'number') removeLocked(folder, fd);
}

/**
 * Takes the name of a machine whose process has ended, so that no other takes it. The folder is removed
 * at disposal.
 * @returns undefined while another process has the name
 * @throws TsvmError as {@link MachineFolder.claim}
 */
export function takeDeadMachine(folder: string): Disposable | undefined {
  ensurePrivateFolder(dirname(folder));
  const fd = makeLockedFolder(folder);
  if (fd === undefined) return undefined;
  return { [Symbol.dispose]: () => removeLocked(folder, fd) };
}

/**
 * Locks a folder, which is created if there is none. A dead machine's record and socket are removed.
 * @returns the locked file; undefined when another process has or removes the folder
 */
function makeLockedFolder(folder: string): number | undefined {
  // Root's machines have users of their own, and so have the folders that they left.
  const left = lstatSync(fsPath(folder), { throwIfNoEntry: false });
  if (left?.isDirectory() && left.uid !== process.geteuid?.()) {
    if (isMachineAlive(folder)) return undefined;
    removeDeadMachine(folder);
  }
  try {
    ensurePrivateFolder(folder);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  }
  const fd = tryLockFolder(folder);
  if (typeof fd !== 'number') return undefined;
  for (const name of [RECORD, SOCKET]) rmSync(fsPath(join(folder, name)), { force: true });
  return fd;
}

/**
 * Locks a folder, and creates its lock file if there is none.
 * @returns the locked file; `locked` when another process has the lock, `gone` when another process
 * removed the folder at the same time
 */
function tryLockFolder(folder: string): number | 'locked' | 'gone' {
  const path = fsPath(lockPath(folder));
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return 'gone';
    if (!hasCode(error, 'ELOOP')) throw error;
    // tsvm creates no links here, so a link proves nothing.
    unlinkSync(path);
    return 'gone';
  }
  let result: number | 'locked' | 'gone' = fd;
  try {
    if (!tryLockFile(hostFiles(), fd, true, OWNER_BYTE, 1)) result = 'locked';
    else if (statSync(path, { throwIfNoEntry: false })?.ino !== fstatSync(fd).ino) result = 'gone';
    return result;
  } catch (error) {
    result = 'gone';
    throw error;
  } finally {
    if (typeof result !== 'number') closeSync(fd);
  }
}

/** @param fd the locked lock file; closed */
function removeLocked(folder: string, fd: number): void {
  try {
    for (const name of readdirSync(fsPath(folder))) {
      if (name !== LOCK) rmSync(fsPath(join(folder, name)), { recursive: true, force: true });
    }
    unlinkSync(fsPath(lockPath(folder)));
    rmdirSync(fsPath(folder));
  } catch (error) {
    // Another machine may have claimed the name since the lock file was removed.
    if (!hasCode(error, 'ENOTEMPTY', 'ENOENT')) throw error;
  } finally {
    closeSync(fd);
  }
}

/** The folder of a machine that runs in this process. */
export class MachineFolder implements Disposable {
  readonly name: string;
  readonly path: string;
  readonly #lockFd: number;
  #removed = false;

  private constructor(name: string, path: string, lockFd: number) {
    this.name = name;
    this.path = path;
    this.#lockFd = lockFd;
  }

  /**
   * Claims a name for a machine of this process. Files that a dead machine of that name left are
   * removed.
   * @throws TsvmError `invalid-config` for an invalid name, `machine-exists`, `file-unreadable` when the
   * folder cannot be created or is not safe
   */
  static async claim(name: string, root = machinesFolder()): Promise<MachineFolder> {
    checkMachineName(name);
    if (root === undefined) {
      throw new TsvmError(
        'file-unreadable',
        'there is no folder for running machines: set XDG_RUNTIME_DIR, HOME or TSVM_RUNTIME_FOLDER',
      );
    }
    ensurePrivateFolder(root);
    const path = join(root, name);
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
      if (attempt > 0) await sleep(REMOVAL_MS);
      const fd = makeLockedFolder(path);
      if (fd === undefined) continue;
      tryLockFile(hostFiles(), fd, true, ALIVE_BYTE, 1);
      return new MachineFolder(name, path, fd);
    }
    throw new TsvmError(
      'machine-exists',
      `a running machine has the name ${name}: choose another, or stop that one ("tsvm stop ${name}")`,
    );
  }

  /** Where the API of this machine listens. */
  get socketPath(): string {
    return socketPath(this.path);
  }

  writeRecord(record: Omit<MachineRecord, 'version' | 'name'>): void {
    const content: MachineRecord = { version: RECORD_VERSION, name: this.name, ...record };
    // The lock excludes other writers, so the draft does not need a unique name.
    const draft = fsPath(join(this.path, `${RECORD}.new`));
    writeFileSync(draft, `${JSON.stringify(content)}\n`, { mode: 0o600 });
    renameSync(draft, fsPath(join(this.path, RECORD)));
  }

  /** Removes the folder and gives up the name. Idempotent. */
  [Symbol.dispose](): void {
    if (this.#removed) return;
    this.#removed = true;
    removeLocked(this.path, this.#lockFd);
  }
}
