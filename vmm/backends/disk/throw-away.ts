import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';
import type { Extent } from './extent.ts';

/** What is copied at a first write: large enough that a file's next write finds it done. */
const CHUNK_BYTES = 64 * 1024;

/** The image underneath: its bytes by offset. Bytes past its end read as zeroes. */
export interface BaseImage {
  readonly sizeBytes: number;
  readonly fd: number;
  close(): void;
}

/**
 * A disk whose writes last as long as the machine: reads come from the base image, and the first
 * write to a chunk copies it to a nameless temporary file, which serves it from then on. The base
 * is never written.
 */
export class ThrowAwayDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = false;
  // Nothing has to outlive the host: a flush has nothing to do.
  readonly scripted = { flush: true, discard: true, writeZeroes: false };
  readonly #base: BaseImage;
  readonly #scratchFd: number;
  readonly #copied = new Set<number>();

  constructor(base: BaseImage) {
    this.#base = base;
    this.sizeBytes = base.sizeBytes;
    this.#scratchFd = openScratch(base.sizeBytes);
  }

  attach(disk: Disk): void {
    disk.pushExtents([this.#extent(0, this.sizeBytes, this.#base.fd, true)]);
  }

  async resolve(disk: Disk, request: ScriptRequest): Promise<void> {
    switch (request.op) {
      case 'flush':
      case 'discard':
        disk.finish(request.id, 0);
        return;
      case 'read':
      case 'write':
      case 'write-zeroes':
        this.#copyUp(disk, request.offset, request.length);
        disk.retry(request.id);
        return;
    }
  }

  close(): void {
    closeSync(this.#scratchFd);
    this.#base.close();
  }

  /** Makes every chunk that the range touches the scratch file's. */
  #copyUp(disk: Disk, offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / CHUNK_BYTES);
    const extents: Extent[] = [];
    for (let chunk = Math.floor(offset / CHUNK_BYTES); chunk <= last; chunk++) {
      if (this.#copied.has(chunk)) continue;
      const start = chunk * CHUNK_BYTES;
      const size = Math.min(CHUNK_BYTES, this.sizeBytes - start);
      this.#copyChunk(start, size);
      this.#copied.add(chunk);
      extents.push(this.#extent(start, size, this.#scratchFd, false));
    }
    disk.pushExtents(extents);
  }

  #copyChunk(start: number, size: number): void {
    const bytes = Buffer.alloc(size);
    let got = 0;
    while (got < size) {
      const count = readSync(this.#base.fd, bytes, got, size - got, start + got);
      if (count === 0) break;
      got += count;
    }
    for (let put = 0; put < size; ) {
      put += writeSync(this.#scratchFd, bytes, put, size - put, start + put);
    }
  }

  #extent(offset: number, length: number, fd: number, readOnly: boolean): Extent {
    return { offset, length, fd, fdOffset: offset, zero: false, readOnly };
  }
}

/** A sparse file without a name: it goes with the process, however that ends. */
function openScratch(sizeBytes: number): number {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-'));
  const path = join(folder, 'scratch');
  const fd = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  rmdirSync(folder);
  ftruncateSync(fd, sizeBytes);
  return fd;
}
