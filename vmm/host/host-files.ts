import { loadAddon } from './addon.ts';
import type { FileLocks } from './file-locks.ts';

/**
 * System calls on open files that Node lacks. Numbers are bytes. Each throws an error with the
 * errno's name as its `code`.
 */
export interface HostFiles extends FileLocks {
  /** lseek(2) SEEK_DATA. Throws ENXIO when no data follows. */
  seekData(fd: number, offset: number): number;
  /** lseek(2) SEEK_HOLE; the end of a file is a hole. Throws ENXIO past the end. */
  seekHole(fd: number, offset: number): number;
  /** fallocate(2): reserves space; the file grows. EOPNOTSUPP where the file system cannot. */
  allocateFile(fd: number, offset: number, length: number): void;
  /**
   * fallocate(2), FALLOC_FL_PUNCH_HOLE (`deallocate`) or FALLOC_FL_ZERO_RANGE: the range reads as
   * zeroes. The file keeps its size. EOPNOTSUPP where the file system cannot.
   */
  zeroFile(fd: number, offset: number, length: number, deallocate: boolean): void;
}

/** The native implementation. */
export function hostFiles(): HostFiles {
  return loadAddon();
}
