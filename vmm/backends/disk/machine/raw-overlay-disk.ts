import { TsvmError } from '../../../errors.ts';
import type { HostFiles } from '../../../host/host-files.ts';
import { ScratchFile } from '../file/scratch-file.ts';
import type { Disk, DiskBackend, Extent, ScriptRequest } from './disk.ts';
import type { RawDisk } from './raw-disk.ts';

/** Copied at a first write: large enough that the next write to a file finds it done. */
const CHUNK_BYTES = 64 * 1024;

/**
 * A disk whose writes last as long as the machine: reads come from the base, and the first write to a
 * chunk copies it to a temporary file, which serves the chunk from then on. The base is never
 * written.
 *
 * It does for raw disks what a temporary overlay image does for any format, without loading and
 * preparing qcow2, which takes some milliseconds.
 */
export class RawOverlayDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly = false;
  // Nothing outlives the host, so a flush has nothing to do.
  readonly scripted = { flush: true, discard: true, writeZeroes: false };
  readonly #base: RawDisk;
  readonly #scratch: ScratchFile;
  readonly #copied = new Set<number>();

  /**
   * @param base opened for reading, closed with this disk
   * @throws TsvmError `disk-io` when there can be no temporary file of that size
   */
  constructor(base: RawDisk, hostFiles: HostFiles) {
    this.#base = base;
    this.sizeBytes = base.sizeBytes;
    this.#scratch = openScratchFile(base.sizeBytes, hostFiles);
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
      this.#scratch.close();
    } finally {
      this.#base.close();
    }
  }

  /** Copies every chunk that the range touches to the temporary file. */
  #copyUp(disk: Disk, offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / CHUNK_BYTES);
    const extents: Extent[] = [];
    for (let chunk = Math.floor(offset / CHUNK_BYTES); chunk <= last; chunk++) {
      if (this.#copied.has(chunk)) continue;
      const start = chunk * CHUNK_BYTES;
      const size = Math.min(CHUNK_BYTES, this.sizeBytes - start);
      this.#scratch.writeSync(start, this.#base.readSync(start, size));
      this.#copied.add(chunk);
      const { fd } = this.#scratch;
      const place = { offset: start, length: size, fd, fdOffset: start };
      extents.push({ ...place, zero: false, readOnly: false });
    }
    disk.pushExtents(extents);
  }
}

/** A sparse temporary file as large as the disk. */
function openScratchFile(sizeBytes: number, hostFiles: HostFiles): ScratchFile {
  const file = new ScratchFile(hostFiles);
  try {
    file.truncateSync(sizeBytes);
    return file;
  } catch (cause) {
    file.close();
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
