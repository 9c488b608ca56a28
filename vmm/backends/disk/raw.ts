import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  type Stats,
  statSync,
} from 'node:fs';
import { constants as osConstants } from 'node:os';
import { TsvmError } from '../../errors.ts';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';
import { SECTOR_BYTES } from './extent.ts';
import { type FileLocks, lockDisk } from './lock.ts';

/**
 * Opens and locks a raw image or a block device: the file's bytes are the disk's.
 *
 * @throws TsvmError `file-unreadable` when it cannot be opened, `invalid-disk` when it can be no
 * disk, `disk-locked` when another program uses it
 */
export function openRawDisk(path: string, readOnly: boolean, locks: FileLocks): RawDisk {
  // Asked before it is opened: a pipe would block, and a device might act.
  const blockDevice = checkKind(path, statDisk(path));
  // O_EXCL keeps a block device from being opened while the host has it mounted: see open(2).
  const exclusive = blockDevice && !readOnly ? constants.O_EXCL : 0;
  const fd = openDisk(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | exclusive);
  try {
    const stats = fstatSync(fd);
    const fileBytes = checkKind(path, stats) ? blockDeviceBytes(stats) : stats.size;
    if (fileBytes === 0) {
      throw new TsvmError(
        'invalid-disk',
        `${path} is empty: give it a size ("truncate -s 1G ${path}")`,
      );
    }
    lockDisk(locks, fd, path, readOnly);
    return new RawDisk(fd, fileBytes, readOnly);
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
    return openSync(path, flags);
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

/**
 * A raw image: one extent. When the file's length is no multiple of 512, the guest sees the last
 * sector padded with zeroes, as it does with QEMU. That sector has no extent, since the file has no
 * bytes for it: reads of it are put together here, and the first write lets the file grow.
 */
export class RawDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly scripted = { flush: false, discard: false, writeZeroes: false };
  readonly #fd: number;
  #fileBytes: number;

  /** @param fd is the disk's from now on */
  constructor(fd: number, fileBytes: number, readOnly: boolean) {
    this.#fd = fd;
    this.#fileBytes = fileBytes;
    this.readOnly = readOnly;
    this.sizeBytes = Math.ceil(fileBytes / SECTOR_BYTES) * SECTOR_BYTES;
  }

  attach(disk: Disk): void {
    const length = this.#fileBytes - (this.#fileBytes % SECTOR_BYTES);
    if (length === 0) return;
    disk.pushExtents([
      {
        offset: 0,
        length,
        fd: this.#fd,
        fdOffset: 0,
        zero: false,
        readOnly: this.readOnly,
      },
    ]);
  }

  /** A request that touches the padded sector. */
  async resolve(disk: Disk, request: ScriptRequest): Promise<void> {
    if (request.op === 'read') {
      disk.finish(request.id, 0, this.readPadded(request.offset, request.length));
      return;
    }
    if (this.readOnly) {
      disk.finish(request.id, osConstants.errno.EROFS);
      return;
    }
    ftruncateSync(this.#fd, this.sizeBytes);
    this.#fileBytes = this.sizeBytes;
    this.attach(disk);
    disk.retry(request.id);
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** The disk's bytes, with zeroes for those that the file does not have. */
  readPadded(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const got = readSync(this.#fd, data, done, length - done, offset + done);
      if (got === 0) break;
      done += got;
    }
    return data;
  }
}
