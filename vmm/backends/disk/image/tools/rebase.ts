import type { ImageFile } from '../../file/image-file.ts';
import { type ChainRun, chainRunAt } from '../chain-run.ts';
import type { DiskImage } from '../image.ts';
import type { Qcow2Image } from '../qcow2/qcow2-image.ts';
import { BufferPool } from './buffer-pool.ts';
import { chainRuns, FileHoles, hasBytes } from './chain-map.ts';
import { inOrder } from './in-order.ts';
import type { WorkControl } from './work-control.ts';
import { isZero } from './zeroes.ts';

/** Size of one read of each chain, unless clusters are larger. */
const CHUNK_BYTES = 2 ** 20;
/** Chunks read ahead. */
const PARALLEL = 4;
/**
 * Bound of the runs that are visited before a part is yielded, possibly an empty one: a signal
 * waits meanwhile.
 */
const RUNS_MAX = 4096;

export interface MergeOptions extends WorkControl {
  /** The same place of the same file need not be compared. */
  isSameFile(one: ImageFile, other: ImageFile): boolean;
}

/** A part of the image that reads from the backing images, where those differ or may differ. */
interface Part {
  readonly offset: number;
  readonly length: number;
}

/**
 * Writes into an image whatever it reads from its backing image and `newBacking` does not have.
 * Afterwards it is durable and reads the same on either. The caller changes the header.
 *
 * @param newBacking undefined for no backing image
 * @throws TsvmError `invalid-disk`, `disk-io`; the signal's reason when aborted: the image still
 * reads as before
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

  /** The parts to compare, no longer than a chunk and cut at cluster boundaries. */
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

  /** Whether both runs are zeroes, or the same bytes of the same file. */
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

  /** Writes each cluster that differs, as a whole. */
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
    // Version 2 has no zero flag.
    if (this.#image.header.version >= 3 && isZero(bytes, 0, bytes.length)) {
      this.#image.writeZeroesSync(offset, bytes.length, false);
    } else {
      await this.#image.write(offset, bytes);
    }
  }
}

/** A part of a chain's content; its run is undefined past the chain's end. */
interface ChainPart {
  readonly run: ChainRun | undefined;
  readonly length: number;
  /** Whether bytes have to be read. */
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
