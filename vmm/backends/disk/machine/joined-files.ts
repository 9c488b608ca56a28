import { constants } from 'node:os';
import type { HostFiles } from '../../../host/host-files.ts';
import { openHostFile } from '../file/host-file.ts';
import type { ImageFile } from '../file/image-file.ts';
import { ceilToSector, floorToSector } from '../file/sector.ts';
import type { Disk, DiskBackend, Extent, ScriptRequest } from './disk.ts';

/** One of the files of a disk. */
interface Part {
  readonly file: ImageFile;
  /** Offset on the disk. */
  readonly offset: number;
  /** Size of the file; on the disk it is rounded up to whole sectors. */
  readonly sizeBytes: number;
}

/**
 * A read-only disk made of files, one after the other, each starting at a sector boundary. Nothing
 * is copied: the page cache has each file once, whatever disks it is part of. The files must not
 * change; they are not locked.
 */
export class JoinedFilesDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = true;
  readonly scripted = { flush: false, discard: false, writeZeroes: false };
  readonly #files: ImageFile[] = [];
  readonly #parts: Part[] = [];

  /** @throws TsvmError `file-unreadable` or `invalid-disk`; no file stays open then */
  constructor(paths: readonly string[], hostFiles: HostFiles) {
    let offset = 0;
    try {
      for (const path of paths) {
        const file = openHostFile(path, hostFiles, { readOnly: true, unlocked: true });
        this.#files.push(file);
        const sizeBytes = file.sizeBytes();
        this.#parts.push({ file, offset, sizeBytes });
        offset += ceilToSector(sizeBytes);
      }
    } catch (error) {
      this.close();
      throw error;
    }
    this.sizeBytes = offset;
  }

  /** Maps all whole sectors. */
  attach(disk: Disk): void {
    const extents = this.#parts.map(({ file, offset, sizeBytes }): Extent => {
      const length = floorToSector(sizeBytes);
      return { offset, length, fd: file.fd, fdOffset: 0, zero: false, readOnly: true };
    });
    disk.pushExtents(extents.filter(({ length }) => length > 0));
  }

  /** Resolves requests that touch the padded end of a file, or are not reads. */
  async resolve(disk: Disk, { id, op, offset, length }: ScriptRequest): Promise<void> {
    if (op === 'read') disk.finish(id, 0, this.#read(offset, length));
    else disk.finish(id, constants.errno.EROFS);
  }

  close(): void {
    for (const file of this.#files.splice(0)) file.close();
  }

  /** Bytes that no file has are zero. */
  #read(offset: number, length: number): Uint8Array {
    const data = new Uint8Array(length);
    for (const part of this.#parts) {
      const start = Math.max(offset, part.offset);
      const end = Math.min(offset + length, part.offset + part.sizeBytes);
      if (end <= start) continue;
      part.file.readSync(start - part.offset, data.subarray(start - offset, end - offset));
    }
    return data;
  }
}
