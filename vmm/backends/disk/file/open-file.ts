import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs';
import { TsvmError } from '../../../errors.ts';
import type { FileLocks } from '../../../host/file-locks.ts';
import { fsPath } from '../../../util/byte-names.ts';
import { sysfsFolder } from './file-identity.ts';
import { diskInUse, lockDisk, lockHolder } from './lock.ts';

/** The unit of sizes in sysfs, whatever the device's sector size is. */
const SYSFS_SECTOR_BYTES = 512;

/** An open file that holds a disk or an image. */
export interface OpenedFile {
  readonly fd: number;
  readonly isBlockDevice: boolean;
  /** Size when it was opened, in bytes. */
  readonly sizeBytes: number;
}

/**
 * Opens and locks a file or a block device.
 * @param locks `undefined`: no lock; incomplete changes of a writer may be seen
 * @throws TsvmError `file-unreadable` when it cannot be opened, `invalid-disk` when it is neither a
 * file nor a block device, `disk-locked` when another program uses it
 */
export function openFile(
  path: string,
  readOnly: boolean,
  locks: FileLocks | undefined,
): OpenedFile {
  // Checked before opening: a pipe would block, and a device might react.
  const stats = statDisk(path);
  const isBlockDevice = checkKind(path, stats);
  const fd =
    isBlockDevice && !readOnly
      ? openDeviceForWriting(path, stats)
      : openPath(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
  return lockOpened(fd, path, readOnly, locks);
}

/**
 * Makes a new, empty file, open for writing and locked.
 * @throws TsvmError `file-unreadable` when it cannot be created or exists
 */
export function createFile(path: string, locks: FileLocks): OpenedFile {
  const fd = openPath(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
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
    const sizeBytes = isBlockDevice
      ? deviceAttribute(stats, 'size') * SYSFS_SECTOR_BYTES
      : stats.size;
    return { fd, isBlockDevice, sizeBytes };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** Returns whether it is a block device; throws when it is not a regular file either. */
function checkKind(path: string, stats: Stats): boolean {
  if (stats.isFile() || stats.isBlockDevice()) return stats.isBlockDevice();
  const kind = stats.isDirectory() ? 'a directory' : 'neither a file nor a block device';
  throw new TsvmError('invalid-disk', `${path} is ${kind}: give a disk image or a block device`);
}

function statDisk(path: string): Stats {
  try {
    return statSync(fsPath(path));
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

/** Linux opens a read-only device for writing and fails the writes, so that is checked first. */
function openDeviceForWriting(path: string, stats: Stats): number {
  if (deviceAttribute(stats, 'ro') !== 0) {
    throw new TsvmError(
      'file-unreadable',
      `the disk ${path} is a read-only block device: it cannot be written; a machine can have it ` +
        'with "ro"',
    );
  }
  // O_EXCL keeps a block device from being opened while the host has it mounted: see open(2).
  const flags = constants.O_RDWR | constants.O_EXCL;
  try {
    return openSync(fsPath(path), flags);
  } catch (cause) {
    throw isBusy(cause) ? inUse(path) : unreadable(path, cause);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EBUSY';
}

/** Another machine's O_EXCL keeps the device from being opened, before any lock. */
function inUse(path: string): TsvmError {
  const fd = openPath(path, constants.O_RDONLY);
  try {
    return diskInUse(lockHolder(fd) ?? 'the host, which may have it mounted', path);
  } finally {
    closeSync(fd);
  }
}

/** Node opens every file with O_CLOEXEC. */
function openPath(path: string, flags: number): number {
  try {
    return openSync(fsPath(path), flags, 0o644);
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

/** A numeric attribute of a block device in sysfs. */
function deviceAttribute(stats: Stats, name: 'ro' | 'size'): number {
  return Number(readFileSync(`${sysfsFolder(stats)}/${name}`, 'utf8'));
}
