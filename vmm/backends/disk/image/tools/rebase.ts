import type { ImageFile } from '../../file/image-file.ts';
import { type ChainRun, chainRunAt } from '../chain-run.ts';
import type { DiskImage } from '../image.ts';
import type { Qcow2Image } from '../qcow2/qcow2-image.ts';
import { BufferPool } from './buffer-pool.ts';
import { chainRuns, FileHoles, hasBytes } from './chain-map.ts';
import { inOrder } from './in-order.ts';
import type { WorkControl } from './work-control.ts';
import { isZero } from './zeroes.ts';

/** What is read of each chain at once; more when a cluster is larger. */
const CHUNK_BYTES = 2 ** 20;
/** Chunks that are read ahead. */
const PARALLEL = 4;
/** Runs that are looked at before a part is due, if only an empty one: a signal has to wait. */
const RUNS_MAX = 4096;

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
  readonly #oldHoles = new FileHoles();
  readonly #newHoles = new FileHoles();
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
    let runs = 0;
    for (const run of chainRuns(this.#image, 0, sizeBytes, backing)) {
      if (++runs % RUNS_MAX === 0) yield { offset: run.offset, length: 0 };
      if (run.kind !== 'unallocated') continue;
      const end = run.offset + run.length;
      for (let at = run.offset; at < end; ) {
        if (++runs % RUNS_MAX === 0) yield { offset: at, length: 0 };
        const old = partAt(this.#image.backing, at, end - at, this.#oldHoles);
        const fresh = partAt(this.#newBacking, at, old.length, this.#newHoles);
        if (this.#isSame(old, fresh)) {
          at += fresh.length;
          continue;
        }
        const start = Math.max(run.offset, at - (at % this.#image.clusterBytes));
        const chunkEnd = (Math.floor(at / this.#chunkBytes) + 1) * this.#chunkBytes;
        at = Math.min(end, chunkEnd);
        yield { offset: start, length: at - start };
      }
    }
  }

  /** Zeroes, or the same bytes of the same file, on either chain, where both begin. */
  #isSame(old: ChainPart, fresh: ChainPart): boolean {
    if (!old.isRead || !fresh.isRead) return old.isRead === fresh.isRead;
    const [one, other] = [old.run, fresh.run];
    return (
      one?.kind === 'data' &&
      other?.kind === 'data' &&
      one.fileOffset === other.fileOffset &&
      one.file !== undefined &&
      other.file !== undefined &&
      this.#options.isSameFile(one.file, other.file)
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

/** A part of what a chain holds; its run is undefined behind the chain's end. */
interface ChainPart {
  readonly run: ChainRun | undefined;
  readonly length: number;
  /** There are bytes that have to be read. */
  readonly isRead: boolean;
}

function partAt(
  image: DiskImage | undefined,
  offset: number,
  length: number,
  holes: FileHoles,
): ChainPart {
  if (image === undefined || offset >= image.sizeBytes) {
    return { run: undefined, length, isRead: false };
  }
  const run = chainRunAt(image, offset, Math.min(length, image.sizeBytes - offset));
  const part = holes.firstOf(run);
  return { run, length: part.length, isRead: hasBytes(run.kind) && !part.isHole };
}
