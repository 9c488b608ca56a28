/**
 * Open file description locks (fcntl(2), F_OFD_SETLK): they belong to the open file and end when
 * that is closed, however the process ends.
 */
import { hasCode } from '../util/error-code.ts';

/** Locks on byte ranges of open files; {@link hostFiles} has the native ones. */
export interface FileLocks {
  /**
   * F_OFD_SETLK on `length` bytes from `start`; a length of 0 reaches to the end, however long the
   * file grows. Never waits.
   * @throws Error with the code EAGAIN when another open file's lock conflicts, EBADF when `fd` is
   * not open for writing (exclusive) or reading (shared)
   */
  lockFile(fd: number, exclusive: boolean, start: number, length: number): void;
  /** F_OFD_GETLK: true when {@link lockFile} would throw EAGAIN. `fd` may be open in any mode. */
  isFileLocked(fd: number, exclusive: boolean, start: number, length: number): boolean;
}

/** Locks a range, or changes the kind of its lock; false when another open file's lock conflicts. */
export function tryLockFile(
  locks: FileLocks,
  fd: number,
  exclusive: boolean,
  start: number,
  length: number,
): boolean {
  try {
    locks.lockFile(fd, exclusive, start, length);
    return true;
  } catch (error) {
    // fcntl(2): "EACCES or EAGAIN".
    if (hasCode(error, 'EAGAIN', 'EACCES')) return false;
    throw error;
  }
}
