import { closeSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { openFile } from '../file/open-file.ts';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';
import { type Extent, SECTOR_BYTES } from './extent.ts';

/** One of the files that a disk is made of. */
interface Part {
  readonly fd: number;
  /** Where it begins on the disk. */
  readonly offset: number;
  /** Bytes of the file; the disk has them up to the next whole sector. */
  readonly sizeBytes: number;
}

/**
 * A read-only disk made of files, one after the other, each starting at a sector of its own. Nothing
 * is copied: the page cache has each file once, whatever disks it is part of. The files must not
 * change; they are not locked.
 */
export class JoinedFilesDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = true;
  readonly scripted = { flush: false, discard: false, writeZeroes: false };
  readonly #parts: Part[] = [];

  /** @throws TsvmError `file-unreadable` or `invalid-disk`; no file stays open then */
  constructor(paths: readonly string[]) {
    let offset = 0;
    try {
      for (const path of paths) {
        const { fd, sizeBytes } = openFile(path, true, undefined);
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

  /** Requests that touch the padded end of a file, or are no reads. */
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

  /** Bytes that no file has are zero. */
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
