import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';
import type { Extent } from './extent.ts';
import type { RawDisk } from './raw.ts';

/** What is copied at a first write: large enough that a file's next write finds it done. */
const CHUNK_BYTES = 64 * 1024;

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
  readonly #base: RawDisk;
  readonly #scratchFd: number;
  readonly #copied = new Set<number>();

  /** @param base opened for reading, this disk's from now on */
  constructor(base: RawDisk) {
    this.#base = base;
    this.sizeBytes = base.sizeBytes;
    this.#scratchFd = openScratch(base.sizeBytes);
  }

  attach(disk: Disk): void {
    this.#base.attach(disk);
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
      const fd = this.#scratchFd;
      extents.push({
        offset: start,
        length: size,
        fd,
        fdOffset: start,
        zero: false,
        readOnly: false,
      });
    }
    disk.pushExtents(extents);
  }

  #copyChunk(start: number, size: number): void {
    const bytes = this.#base.readPadded(start, size);
    for (let put = 0; put < size; ) {
      put += writeSync(this.#scratchFd, bytes, put, size - put, start + put);
    }
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
