import { closeSync, ftruncateSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { TsvmError } from '../../../errors.ts';
import type { FileLocks } from '../../../host/file-locks.ts';
import { openFile } from '../file/open-file.ts';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';
import { SECTOR_BYTES } from './extent.ts';

/**
 * Opens and locks a raw image or a block device: the file's bytes are the disk's.
 *
 * @throws TsvmError `file-unreadable` when it cannot be opened, `invalid-disk` when it can be no
 * disk, `disk-locked` when another program uses it
 */
export function openRawDisk(path: string, readOnly: boolean, locks: FileLocks): RawDisk {
  const { fd, sizeBytes } = openFile(path, readOnly, locks);
  if (sizeBytes > 0) return new RawDisk(fd, sizeBytes, readOnly);
  closeSync(fd);
  throw new TsvmError(
    'invalid-disk',
    `${path} is empty: give it a size ("truncate -s 1G ${path}")`,
  );
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
      disk.finish(request.id, constants.errno.EROFS);
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
