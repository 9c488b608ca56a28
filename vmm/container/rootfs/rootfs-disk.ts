import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import type { Disk, DiskBackend, ScriptRequest } from '../../backends/disk/machine/disk.ts';
import { type Extent, SECTOR_BYTES } from '../../backends/disk/machine/extent.ts';
import type { Digest } from '../digest.ts';
import type { StoreFolders } from '../store/folders.ts';
import { storeFailure } from '../store/store-failure.ts';
import { rootfsKey } from './rootfs-key.ts';

/** One of the files that a disk is made of. */
interface Part {
  readonly fd: number;
  /** Where it begins on the disk. */
  readonly offset: number;
  /** Bytes of the file; the disk has them up to the next whole sector. */
  readonly sizeBytes: number;
}

/**
 * Opens the root file system of an image: its metadata image, then its layers, one behind the other.
 * Nothing is copied; the page cache has each layer once, whatever images and machines have it.
 * @param diffIds the lowest layer first; the store has them, and their metadata image
 * @throws TsvmError `store-failed`
 */
export function openRootfsDisk(diffIds: readonly Digest[], folders: StoreFolders): RootfsDisk {
  const metadata = folders.metadataImage(rootfsKey(diffIds));
  const layers = diffIds.map((diffId) => folders.layer(diffId));
  try {
    return new RootfsDisk([metadata, ...layers]);
  } catch (error) {
    throw storeFailure(folders.root, error);
  }
}

/** Files, one behind the other, each from a sector of its own: a disk that is only read. */
export class RootfsDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = true;
  readonly scripted = { flush: false, discard: false, writeZeroes: false };
  readonly #parts: Part[] = [];

  /** @param paths opened for reading */
  constructor(paths: readonly string[]) {
    let offset = 0;
    try {
      for (const path of paths) {
        const fd = openSync(path, 'r');
        const { size: sizeBytes } = fstatSync(fd);
        this.#parts.push({ fd, offset, sizeBytes });
        offset += Math.ceil(sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
      }
    } catch (error) {
      this.close();
      throw error;
    }
    this.sizeBytes = offset;
  }

  /** All whole sectors. */
  attach(disk: Disk): void {
    const extents = this.#parts.map(({ fd, offset, sizeBytes }): Extent => {
      const length = sizeBytes - (sizeBytes % SECTOR_BYTES);
      return { offset, length, fd, fdOffset: 0, zero: false, readOnly: true };
    });
    disk.pushExtents(extents.filter(({ length }) => length > 0));
  }

  /** What touches the end of a file that is no whole sector, or is no read. */
  async resolve(disk: Disk, request: ScriptRequest): Promise<void> {
    if (request.op !== 'read') {
      disk.finish(request.id, constants.errno.EROFS);
      return;
    }
    disk.finish(request.id, 0, this.#read(request.offset, request.length));
  }

  close(): void {
    for (const { fd } of this.#parts) closeSync(fd);
    this.#parts.length = 0;
  }

  /** What no file has is zero. */
  #read(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    for (const part of this.#parts) {
      const start = Math.max(offset, part.offset);
      const end = Math.min(offset + length, part.offset + part.sizeBytes);
      for (let at = start; at < end; ) {
        const got = readSync(part.fd, data, at - offset, end - at, at - part.offset);
        if (got === 0) break;
        at += got;
      }
    }
    return data;
  }
}
