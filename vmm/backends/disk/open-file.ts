import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { type FileLocks, lockDisk } from './lock.ts';

/** An open file that holds a disk or an image, locked unless that was not asked for. */
export interface OpenedFile {
  readonly fd: number;
  readonly isBlockDevice: boolean;
  /** Bytes when it was opened. */
  readonly sizeBytes: number;
}

/**
 * Opens and locks a file or a block device.
 * @param locks `undefined`: it is read beside a writer, whose half-done changes may be seen
 * @throws TsvmError `file-unreadable` when it cannot be opened, `invalid-disk` when it can be no
 * disk, `disk-locked` when another program uses it
 */
export function openFile(
  path: string,
  readOnly: boolean,
  locks: FileLocks | undefined,
): OpenedFile {
  // Asked before it is opened: a pipe would block, and a device might act.
  const blockDevice = checkKind(path, statDisk(path));
  // O_EXCL keeps a block device from being opened while the host has it mounted: see open(2).
  const exclusive = blockDevice && !readOnly ? constants.O_EXCL : 0;
  const fd = openDisk(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | exclusive);
  return lockOpened(fd, path, readOnly, locks);
}

/**
 * Makes a new, empty file, open for writing and locked.
 * @throws TsvmError `file-unreadable` when it cannot be made, or is there already
 */
export function createFile(path: string, locks: FileLocks): OpenedFile {
  const fd = openDisk(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
  return lockOpened(fd, path, false, locks);
}

function lockOpened(
  fd: number,
  path: string,
  readOnly: boolean,
  locks: FileLocks | undefined,
): OpenedFile {
  try {
    const stats = fstatSync(fd);
    const isBlockDevice = checkKind(path, stats);
    if (locks !== undefined) lockDisk(locks, fd, path, readOnly);
    const sizeBytes = isBlockDevice ? blockDeviceBytes(stats) : stats.size;
    return { fd, isBlockDevice, sizeBytes };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Answers whether it is a block device; only it and a regular file are disks. */
function checkKind(path: string, stats: Stats): boolean {
  if (stats.isFile() || stats.isBlockDevice()) return stats.isBlockDevice();
  const kind = stats.isDirectory() ? 'a directory' : 'neither a file nor a block device';
  throw new TsvmError('invalid-disk', `${path} is ${kind}: give a disk image or a block device`);
}

function statDisk(path: string): Stats {
  try {
    return statSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Node opens every file with O_CLOEXEC. */
function openDisk(path: string, flags: number): number {
  try {
    return openSync(path, flags, 0o644);
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TsvmError('file-unreadable', `the disk ${path} cannot be opened: ${reason}`, {
    cause,
  });
}

/** sysfs counts in units of 512 bytes whatever the device's own sectors are. */
function blockDeviceBytes({ rdev }: Stats): number {
  const major = Math.floor(rdev / 256) % 4096;
  const minor = (rdev % 256) + Math.floor(rdev / 2 ** 20) * 256;
  const sectors = readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8');
  return Number(sectors) * 512;
}
