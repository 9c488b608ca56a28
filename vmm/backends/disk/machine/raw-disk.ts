import { constants } from 'node:os';
import { TsvmError } from '../../../errors.ts';
import type { HostFiles } from '../../../host/host-files.ts';
import { openHostFile } from '../file/host-file.ts';
import { floorToSector } from '../file/sector.ts';
import { RawImage } from '../image/raw-image.ts';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';

/**
 * Opens and locks a raw image or a block device.
 * @throws TsvmError `file-unreadable` when it cannot be opened, `invalid-disk` when it is empty or
 * neither a file nor a block device, `disk-locked` when another program uses it
 */
export function openRawDisk(path: string, readOnly: boolean, hostFiles: HostFiles): RawDisk {
  const file = openHostFile(path, hostFiles, { readOnly });
  try {
    const image = new RawImage(file);
    if (image.sizeBytes > 0) return new RawDisk(image);
    throw new TsvmError(
      'invalid-disk',
      `${path} is empty: give it a size ("truncate -s 1G ${path}")`,
    );
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * A raw image as one extent. The padded last sector of a file whose length is not a multiple of 512
 * has no extent, since the file has no bytes for it: reads of it are served here, and the first write
 * extends the file.
 */
export class RawDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly scripted = { flush: false, discard: false, writeZeroes: false };
  readonly #image: RawImage;

  /** @param image closed with the disk */
  constructor(image: RawImage) {
    this.#image = image;
    this.readOnly = image.readOnly;
    this.sizeBytes = image.sizeBytes;
  }

  attach(disk: Disk): void {
    const { file } = this.#image;
    const length = Math.min(floorToSector(file.sizeBytes()), this.sizeBytes);
    if (length === 0) return;
    disk.pushExtents([
      { offset: 0, length, fd: file.fd, fdOffset: 0, zero: false, readOnly: this.readOnly },
    ]);
  }

  /** Resolves a request that touches the padded sector. */
  async resolve(disk: Disk, { id, op, offset, length }: ScriptRequest): Promise<void> {
    if (op === 'read') {
      disk.finish(id, 0, this.readSync(offset, length));
      return;
    }
    if (this.readOnly) {
      disk.finish(id, constants.errno.EROFS);
      return;
    }
    this.#image.file.truncateSync(this.sizeBytes);
    this.attach(disk);
    disk.retry(id);
  }

  flush(): Promise<void> {
    return this.#image.flush();
  }

  close(): void {
    this.#image.close();
  }

  readSync(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    this.#image.readSync(offset, data);
    return data;
  }
}
