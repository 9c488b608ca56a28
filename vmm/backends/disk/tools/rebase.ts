import { type ChainRun, chainRunAt } from '../chain-run.ts';
import type { DiskImage } from '../image.ts';
import type { ImageFile } from '../image-file.ts';
import type { Qcow2Image } from '../qcow2/qcow2-image.ts';
import { BufferPool } from './buffer-pool.ts';
import { chainRuns, hasBytes } from './chain-map.ts';
import { inOrder } from './in-order.ts';
import type { WorkControl } from './work-control.ts';
import { isZero } from './zeroes.ts';

/** What is read of each chain at once; more when a cluster is larger. */
const CHUNK_BYTES = 2 ** 20;
/** Chunks that are read ahead. */
const PARALLEL = 4;

export interface MergeOptions extends WorkControl {
  /** What lies at one place of one file need not be compared. */
  isSameFile(one: ImageFile, other: ImageFile): boolean;
}

/** A part of the image in which the backing images decide, and differ or may differ. */
interface Part {
  readonly offset: number;
  readonly length: number;
}

/**
 * Writes into an image whatever it has from its backing image and would not have from `newBacking`.
 * It is durable then, and reads the same on either. What the header says is the caller's to change.
 *
 * @param newBacking undefined: the image is to stand by itself
 * @throws TsvmError `invalid-disk`, `disk-io`; the signal's reason when that is aborted: the image
 * is as good as before then
 */
export async function mergeDifferences(
  image: Qcow2Image,
  newBacking: DiskImage | undefined,
  options: MergeOptions,
): Promise<void> {
  await new Merge(image, newBacking, options).run();
}

class Merge {
  readonly #image: Qcow2Image;
  readonly #newBacking: DiskImage | undefined;
  readonly #options: MergeOptions;
  readonly #chunkBytes: number;
  readonly #buffers: BufferPool;

  constructor(image: Qcow2Image, newBacking: DiskImage | undefined, options: MergeOptions) {
    this.#image = image;
    this.#newBacking = newBacking;
    this.#options = options;
    this.#chunkBytes = Math.max(CHUNK_BYTES, image.clusterBytes);
    this.#buffers = new BufferPool(this.#chunkBytes);
  }

  async run(): Promise<void> {
    const { onProgress, signal } = this.#options;
    const { sizeBytes } = this.#image;
    try {
      const read = (part: Part) => this.#read(part);
      for await (const { part, old, fresh } of inOrder(this.#parts(), PARALLEL, read)) {
        signal?.throwIfAborted();
        const { offset, length } = part;
        await this.#write(offset, old.subarray(0, length), fresh.subarray(0, length));
        this.#buffers.give(old);
        this.#buffers.give(fresh);
        onProgress?.(offset + length, sizeBytes);
      }
    } finally {
      await this.#image.flush();
    }
  }

  /** What has to be compared, in parts that are not longer than a chunk and end where clusters do. */
  *#parts(): Generator<Part, void, undefined> {
    const { backing, sizeBytes } = this.#image;
    for (const run of chainRuns(this.#image, 0, sizeBytes, backing)) {
      if (run.kind !== 'unallocated') continue;
      const end = run.offset + run.length;
      for (let at = run.offset; at < end; ) {
        const chunkEnd = (Math.floor(at / this.#chunkBytes) + 1) * this.#chunkBytes;
        const stop = Math.min(end, chunkEnd);
        if (this.#mayDiffer(at, stop)) yield { offset: at, length: stop - at };
        at = stop;
      }
    }
  }

  #mayDiffer(offset: number, end: number): boolean {
    for (let at = offset; at < end; ) {
      const old = runAt(this.#image.backing, at, end - at);
      const fresh = runAt(this.#newBacking, at, old.length);
      if (!this.#isSame(old.run, fresh.run)) return true;
      at += fresh.length;
    }
    return false;
  }

  /** Zeroes, or the same bytes of the same file, on either chain. */
  #isSame(old: ChainRun | undefined, fresh: ChainRun | undefined): boolean {
    const hasOld = old !== undefined && hasBytes(old.kind);
    const hasFresh = fresh !== undefined && hasBytes(fresh.kind);
    if (!hasOld || !hasFresh) return hasOld === hasFresh;
    return (
      old.kind === 'data' &&
      fresh.kind === 'data' &&
      old.fileOffset === fresh.fileOffset &&
      old.file !== undefined &&
      fresh.file !== undefined &&
      this.#options.isSameFile(old.file, fresh.file)
    );
  }

  async #read(part: Part): Promise<{ part: Part; old: Buffer; fresh: Buffer }> {
    const { offset, length } = part;
    const old = this.#buffers.take();
    const fresh = this.#buffers.take();
    await Promise.all([
      this.#image.read(offset, old.subarray(0, length)),
      this.#readNew(offset, fresh.subarray(0, length)),
    ]);
    return { part, old, fresh };
  }

  async #readNew(offset: number, target: Buffer): Promise<void> {
    const backing = this.#newBacking;
    const present = Math.min(target.length, Math.max(0, (backing?.sizeBytes ?? 0) - offset));
    target.fill(0, present);
    if (present > 0) await backing?.read(offset, target.subarray(0, present));
  }

  /** Writes the clusters that differ; of one that does, all. */
  async #write(offset: number, old: Buffer, fresh: Buffer): Promise<void> {
    const { clusterBytes } = this.#image;
    const end = offset + old.length;
    for (let at = offset; at < end; ) {
      const stop = Math.min(end, (Math.floor(at / clusterBytes) + 1) * clusterBytes);
      const bytes = old.subarray(at - offset, stop - offset);
      if (!bytes.equals(fresh.subarray(at - offset, stop - offset))) {
        await this.#writeCluster(at, bytes);
      }
      at = stop;
    }
  }

  async #writeCluster(offset: number, bytes: Buffer): Promise<void> {
    // Version 2 has no clusters that are zero by a flag.
    if (this.#image.header.version >= 3 && isZero(bytes, 0, bytes.length)) {
      this.#image.writeZeroesSync(offset, bytes.length, false);
    } else {
      await this.#image.write(offset, bytes);
    }
  }
}

function runAt(
  image: DiskImage | undefined,
  offset: number,
  length: number,
): { run: ChainRun | undefined; length: number } {
  if (image === undefined || offset >= image.sizeBytes) return { run: undefined, length };
  const run = chainRunAt(image, offset, Math.min(length, image.sizeBytes - offset));
  return { run, length: run.length };
}
