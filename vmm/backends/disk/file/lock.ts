/**
 * Keeps two programs from writing one disk, by an open file description lock (fcntl(2),
 * F_OFD_SETLK) that ends when the file is closed, however the process ends.
 *
 * It also excludes QEMU, whose image locking (its docs/system/qemu-block-drivers, "Disk image file
 * locking") uses the same kind of lock on two groups of bytes: a shared lock on byte 100 + n means
 * having permission n, and on byte 200 + n denying it to others. Permission 1 is writing.
 *
 * - Our writers lock the whole file exclusively, which conflicts with all of these.
 * - Our readers deny writing by a shared lock on byte 201, then test for a writer. Writers of
 *   either kind do it in the opposite order, so that of two that start at once at least one sees
 *   the other.
 */
import { fstatSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import { type FileLocks, tryLockFile } from '../../../host/file-locks.ts';
import { hasCode } from '../../../util/error-code.ts';

const WRITERS_BYTE = 101;
const NO_WRITERS_BYTE = 201;
/** To the end of the file, however large it becomes. */
const TO_THE_END = 0;

/**
 * Locks a disk until `fd` is closed.
 * @param path for the message
 * @throws TsvmError `disk-locked` when another program uses the disk in a way that conflicts
 */
export function lockDisk(locks: FileLocks, fd: number, path: string, readOnly: boolean): void {
  if (tryLock(locks, fd, readOnly)) return;
  throw diskInUse(lockHolder(fd) ?? 'another program', path);
}

/** @param user a noun phrase for the message */
export function diskInUse(user: string, path: string): TsvmError {
  return new TsvmError(
    'disk-locked',
    `${path} is in use by ${user}: a disk has one writer, or readers only`,
  );
}

function tryLock(locks: FileLocks, fd: number, readOnly: boolean): boolean {
  if (!readOnly) return tryLockFile(locks, fd, true, 0, TO_THE_END);
  return (
    tryLockFile(locks, fd, false, NO_WRITERS_BYTE, 1) &&
    !locks.isFileLocked(fd, true, WRITERS_BYTE, 1)
  );
}

/**
 * A process that holds a lock on the file, if we may inspect it. /proc/locks shows no process for
 * these locks, so open files are searched.
 */
export function lockHolder(fd: number): string | undefined {
  const own = fstatSync(fd);
  for (const pid of processIds()) {
    try {
      const holds = readdirSync(`/proc/${pid}/fd`).some((name) => {
        if (pid === String(process.pid) && name === String(fd)) return false;
        const file = statSync(`/proc/${pid}/fd/${name}`, { throwIfNoEntry: false });
        if (file?.dev !== own.dev || file.ino !== own.ino) return false;
        return /^lock:/m.test(readFileSync(`/proc/${pid}/fdinfo/${name}`, 'utf8'));
      });
      if (!holds) continue;
      if (pid === String(process.pid)) return 'this process';
      return `process ${pid} (${basename(readlinkSync(`/proc/${pid}/exe`))})`;
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  return undefined;
}

/** All processes; none in a sandbox, which does not see them. */
function processIds(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch (error) {
    if (hasCode(error, 'EACCES') || hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}
