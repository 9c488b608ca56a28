import { TimeSlices } from '../../../../util/event-loop.ts';
import type { DiskImage } from '../image.ts';
import { BufferPool } from './buffer-pool.ts';
import { type CopyStep, copyPlan } from './copy-plan.ts';
import { inOrder } from './in-order.ts';
import { type OnLost, readSources } from './source-reader.ts';
import { withWholeSources } from './whole-sources.ts';
import type { WorkControl } from './work-control.ts';
import { piecesOf } from './zeroes.ts';

/** Long enough to wake other threads rarely, short enough for caches to hold several. */
const CHUNK_BYTES = 2 ** 20;
/** For longer writes the page cache allocates larger folios, which may take far longer. */
const WRITE_BYTES = 2 ** 19;
/** Node's number of threads for files: reading more ahead only fills the cache. */
const READS_MAX = 4;
/** A hole smaller than this saves nothing on most file systems. */
const HOLE_BYTES_MIN = 4096;
/** With larger clusters, zeroes inside a cluster become holes of the file. */
const WHOLE_CLUSTER_BYTES_MAX = 64 * 1024;
/** Bound of one zeroing step: a signal waits for it. */
const ZERO_BYTES = 2 ** 30;

export interface ConvertOptions extends WorkControl {
  /** Chunks read concurrently, ahead of the writes. */
  readonly parallel: number;
  /** At least this many zeroes in a row are not written, in bytes; with 0 none are looked for. */
  readonly sparseBytes: number;
  /** Write holes too. */
  readonly copyHoles: boolean;
  /** The target reads as zeroes everywhere, so zeroes need no writing. */
  readonly targetIsZero: boolean;
  /** What no layer above `base` has stays as the target has it. */
  readonly leaveUnallocated: boolean;
  /** A layer of the sources' chain; by default each source's own backing image. */
  readonly base?: DiskImage | undefined;
  /** See {@link readSources}. */
  readonly onLost?: OnLost | undefined;
}

/**
 * Writes the sources, one after the other, into the target, and nothing where they are known to be
 * zero. Does not flush the target.
 *
 * @throws TsvmError `invalid-disk`, `disk-io`; the signal's reason when aborted. Afterwards nothing
 * uses the images.
 */
export async function convertImage(
  sources: readonly DiskImage[],
  target: DiskImage,
  options: ConvertOptions,
): Promise<void> {
  await withWholeSources(sources, () => new Conversion(sources, target, options).run());
}

class Conversion {
  readonly #sources: readonly DiskImage[];
  readonly #target: DiskImage;
  readonly #options: ConvertOptions;
  readonly #buffers: BufferPool;
  readonly #unitBytes: number;
  readonly #chunkBytes: number;
  /** Zeroes are looked for in parts of this size; 0 for not at all. */
  readonly #zeroBytes: number;

  constructor(sources: readonly DiskImage[], target: DiskImage, options: ConvertOptions) {
    this.#sources = sources;
    this.#target = target;
    this.#options = options;
    const { sparseBytes } = options;
    const { clusterBytes } = target;
    // A raw image can have holes where the file system can.
    this.#unitBytes = target.format === 'raw' ? HOLE_BYTES_MIN : clusterBytes;
    this.#chunkBytes = Math.max(CHUNK_BYTES, this.#unitBytes);
    const least = target.format === 'raw' ? 0 : Math.min(clusterBytes, WHOLE_CLUSTER_BYTES_MAX);
    this.#zeroBytes = sparseBytes === 0 ? 0 : Math.max(sparseBytes, least);
    this.#buffers = new BufferPool(this.#chunkBytes);
  }

  async run(): Promise<void> {
    const { base, copyHoles, leaveUnallocated, onProgress, pace, parallel, signal } = this.#options;
    const plan = copyPlan(this.#sources, {
      unitBytes: this.#unitBytes,
      chunkBytes: this.#chunkBytes,
      copyHoles,
      leaveUnallocated,
      base,
    });
    const total = this.#sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const read = (step: CopyStep) => this.#read(step);
    for await (const { step, buffer } of inOrder(plan, Math.min(parallel, READS_MAX), read)) {
      signal?.throwIfAborted();
      const { action, offset, length } = step;
      if (action === 'zero') await this.#zeroInSteps(offset, length);
      if (buffer !== undefined) {
        await pace?.spend(length, signal);
        this.#write(offset, buffer.subarray(0, length));
        this.#buffers.give(buffer);
      }
      onProgress?.(offset + length, total);
    }
  }

  async #read(step: CopyStep): Promise<{ step: CopyStep; buffer: Buffer | undefined }> {
    if (step.action !== 'copy') return { step, buffer: undefined };
    const buffer = this.#buffers.take();
    await readSources(
      this.#sources,
      step.offset,
      buffer.subarray(0, step.length),
      this.#options.onLost,
    );
    return { step, buffer };
  }

  /**
   * Writes synchronously: to the page cache that is faster than passing the data to a thread, and
   * the next chunks are being read meanwhile.
   */
  #write(offset: number, bytes: Buffer): void {
    if (this.#zeroBytes === 0) {
      this.#writeParts(offset, bytes);
      return;
    }
    for (const { start, end, zero } of piecesOf(bytes, this.#zeroBytes)) {
      if (zero) this.#zero(offset + start, end - start);
      else this.#writeParts(offset + start, bytes.subarray(start, end));
    }
  }

  /** Divides a range at cluster boundaries. */
  #writeParts(offset: number, bytes: Buffer): void {
    const partBytes = Math.max(WRITE_BYTES, this.#unitBytes);
    const end = offset + bytes.length;
    for (let at = offset; at < end; ) {
      const stop = Math.min(end, (Math.floor(at / partBytes) + 1) * partBytes);
      this.#target.writeSync(at, bytes.subarray(at - offset, stop - offset));
      at = stop;
    }
  }

  async #zeroInSteps(offset: number, length: number): Promise<void> {
    if (this.#options.targetIsZero) return;
    const slices = new TimeSlices();
    for (let at = offset; at < offset + length; at += ZERO_BYTES) {
      this.#zero(at, Math.min(ZERO_BYTES, offset + length - at));
      await slices.next();
      this.#options.signal?.throwIfAborted();
    }
  }

  #zero(offset: number, length: number): void {
    if (!this.#options.targetIsZero) this.#target.writeZeroesSync(offset, length, true);
  }
}
