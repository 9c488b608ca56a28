import { closeSync, ftruncateSync, writeSync } from 'node:fs';
import { TsvmError } from '../../../errors.ts';
import { openNamelessFile } from '../file/nameless-file.ts';
import type { Disk, DiskBackend, ScriptRequest } from './disk.ts';
import type { Extent } from './extent.ts';
import type { RawDisk } from './raw.ts';

/** What is copied at a first write: large enough that a file's next write finds it done. */
const CHUNK_BYTES = 64 * 1024;

/**
 * A temporary file as large as the disk; it takes no space until it is written.
 * @throws TsvmError `disk-io`
 */
function openScratchFile(sizeBytes: number): number {
  const fd = openNamelessFile();
  try {
    ftruncateSync(fd, sizeBytes);
    return fd;
  } catch (cause) {
    closeSync(fd);
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new TsvmError(
      'disk-io',
      `the temporary file for an overlay cannot be as large as its disk, ${sizeBytes} bytes: ` +
        `${reason}; raise the limit on files ("ulimit -f unlimited"), or let TMPDIR name a folder ` +
        'on another file system',
      { cause },
    );
  }
}

/**
 * A disk whose writes last as long as the machine: reads come from the base image, and the first
 * write to a chunk copies it to a nameless temporary file, which serves it from then on. The base
 * is never written.
 *
 * It does for a raw disk, the default guest's above all, what an overlay image does for any, and is
 * there some milliseconds sooner.
 */
export class RawOverlayDisk implements DiskBackend {
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
    this.#scratchFd = openScratchFile(base.sizeBytes);
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
    try {
      closeSync(this.#scratchFd);
    } finally {
      this.#base.close();
    }
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
