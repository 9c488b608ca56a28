import type { DiskImage } from '../image.ts';
import { BufferPool } from './buffer-pool.ts';
import { type CopyStep, copyPlan } from './copy-plan.ts';
import { InFlight } from './in-flight.ts';
import { inOrder } from './in-order.ts';
import { readSources } from './source-reader.ts';
import type { WorkControl } from './work-control.ts';
import { piecesOf } from './zeroes.ts';

/** Long enough to cost few calls, short enough for a cache to hold some. */
const CHUNK_BYTES = 2 ** 20;
/** A hole smaller than this saves nothing on most file systems. */
const HOLE_BYTES_MIN = 4096;
/** With larger clusters, what is zero inside one is left as a hole of the file. */
const WHOLE_CLUSTER_BYTES_MAX = 64 * 1024;

export interface ConvertOptions extends WorkControl {
  /** Chunks that are read and written at a time. */
  readonly parallel: number;
  /** So many zeroes in a row are not written, in bytes; 0: zeroes are not looked for. */
  readonly sparseBytes: number;
  /** Holes are written like everything else. */
  readonly copyHoles: boolean;
  /** The target reads as zeroes throughout: what is zero needs no writing. */
  readonly targetIsZero: boolean;
  /** What no layer above `base` has is left as the target has it. */
  readonly leaveUnallocated: boolean;
  /** A layer of the sources' chain; each source's own backing image when not given. */
  readonly base?: DiskImage | undefined;
}

/**
 * Writes what the sources hold, one behind the other, into the target, and nothing where they are
 * known to be zero. The target is not flushed.
 *
 * @throws TsvmError `invalid-disk`, `disk-io`; the signal's reason when that is aborted. Nothing
 * uses the images any more then.
 */
export async function convertImage(
  sources: readonly DiskImage[],
  target: DiskImage,
  options: ConvertOptions,
): Promise<void> {
  await new Conversion(sources, target, options).run();
}

class Conversion {
  readonly #sources: readonly DiskImage[];
  readonly #target: DiskImage;
  readonly #options: ConvertOptions;
  readonly #writes = new InFlight();
  readonly #buffers: BufferPool;
  readonly #unitBytes: number;
  readonly #chunkBytes: number;
  /** What is zero is looked for in parts of this size; 0: not looked for. */
  readonly #zeroBytes: number;

  constructor(sources: readonly DiskImage[], target: DiskImage, options: ConvertOptions) {
    this.#sources = sources;
    this.#target = target;
    this.#options = options;
    const { sparseBytes } = options;
    const { clusterBytes } = target;
    // A raw image can have holes wherever the file system can.
    this.#unitBytes = target.format === 'raw' ? HOLE_BYTES_MIN : clusterBytes;
    this.#chunkBytes = Math.max(CHUNK_BYTES, this.#unitBytes);
    const least = target.format === 'raw' ? 0 : Math.min(clusterBytes, WHOLE_CLUSTER_BYTES_MAX);
    this.#zeroBytes = sparseBytes === 0 ? 0 : Math.max(sparseBytes, least);
    this.#buffers = new BufferPool(this.#chunkBytes);
  }

  async run(): Promise<void> {
    const { base, copyHoles, leaveUnallocated, onProgress, parallel, signal } = this.#options;
    const plan = copyPlan(this.#sources, {
      unitBytes: this.#unitBytes,
      chunkBytes: this.#chunkBytes,
      copyHoles,
      leaveUnallocated,
      base,
    });
    const total = this.#sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    try {
      for await (const { step, buffer } of inOrder(plan, parallel, (step) => this.#read(step))) {
        signal?.throwIfAborted();
        if (buffer !== undefined) await this.#write(step, buffer);
        else if (step.action === 'zero') await this.#zero(step.offset, step.length);
        onProgress?.(step.offset + step.length, total);
      }
      await this.#writes.fewerThan(1);
    } finally {
      await this.#writes.settle();
    }
  }

  async #read(step: CopyStep): Promise<{ step: CopyStep; buffer: Buffer | undefined }> {
    if (step.action !== 'copy') return { step, buffer: undefined };
    const buffer = this.#buffers.take();
    await readSources(this.#sources, step.offset, buffer.subarray(0, step.length));
    return { step, buffer };
  }

  /** Starts the writes of a chunk, in whose order a target with clusters gives them their places. */
  async #write({ offset, length }: CopyStep, buffer: Buffer): Promise<void> {
    await this.#writes.fewerThan(this.#options.parallel);
    const bytes = buffer.subarray(0, length);
    const pieces =
      this.#zeroBytes === 0
        ? [{ start: 0, end: length, zero: false }]
        : piecesOf(bytes, this.#zeroBytes);
    const data: { offset: number; bytes: Buffer }[] = [];
    for (const { start, end, zero } of pieces) {
      if (zero) await this.#zero(offset + start, end - start);
      else data.push({ offset: offset + start, bytes: bytes.subarray(start, end) });
    }
    this.#writes.add(this.#writePieces(data), () => this.#buffers.give(buffer));
  }

  async #writePieces(pieces: { offset: number; bytes: Buffer }[]): Promise<void> {
    // Pieces of one cluster have to be written one after the other.
    if (this.#zeroBytes < this.#target.clusterBytes && this.#target.format !== 'raw') {
      for (const { offset, bytes } of pieces) await this.#target.write(offset, bytes);
      return;
    }
    await Promise.all(pieces.map(({ offset, bytes }) => this.#target.write(offset, bytes)));
  }

  async #zero(offset: number, length: number): Promise<void> {
    if (this.#options.targetIsZero) return;
    // An image takes one operation that changes its metadata at a time.
    await this.#writes.fewerThan(1);
    this.#target.writeZeroesSync(offset, length, true);
  }
}
