import type { ImageFile } from '../../../file/image-file.ts';
import type { Geometry } from '../header/geometry.ts';
import { type RefcountWidth, refcountWidth } from '../space/refcount-width.ts';

const WORD = 2 ** 32;
const ENTRY_BYTES = 8;
/** Bits 0 to 8 of a refcount table entry, in its low word. */
const LOW_RESERVED_MASK = 0x1ff;
const CACHE_BYTES = 64 * 2 ** 20;

/** The place of the refcount table. */
export interface RefcountTablePlace {
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
}

/** A decoded refcount table entry. */
export interface RefcountBlockPlace {
  /** Host offset in bytes, 0 if there is no block. May be 2^53 or more, and is then not exact. */
  readonly offset: number;
  readonly hasReservedBits: boolean;
}

/**
 * The refcounts in the file, valid or not: a check must neither trust them nor fail on them. Reads
 * the file itself, so that a check is independent of the engine.
 */
export class StoredRefcounts {
  /** Number of entries in the table. */
  readonly tableEntries: number;
  /** The highest refcount that the image's width allows; not exact for 64 bits. */
  readonly max: number;
  readonly #file: ImageFile;
  readonly #geometry: Geometry;
  readonly #width: RefcountWidth;
  readonly #table: DataView;
  readonly #blocks = new Map<number, DataView>();
  #lastIndex = -1;
  #lastBlock: DataView | 'missing' | undefined;

  constructor(file: ImageFile, geometry: Geometry, place: RefcountTablePlace) {
    const bytes = new Uint8Array(place.refcountTableClusters * geometry.clusterBytes);
    file.readSync(place.refcountTableOffset, bytes);
    this.#table = new DataView(bytes.buffer);
    this.tableEntries = bytes.byteLength / ENTRY_BYTES;
    this.#file = file;
    this.#geometry = geometry;
    this.#width = refcountWidth(geometry.refcountBits);
    this.max = geometry.refcountBits === 64 ? 2 ** 64 : this.#width.max;
  }

  place(index: number): RefcountBlockPlace {
    const high = this.#table.getUint32(index * ENTRY_BYTES);
    const low = this.#table.getUint32(index * ENTRY_BYTES + 4);
    return {
      offset: high * WORD + (low - (low & LOW_RESERVED_MASK)),
      hasReservedBits: (low & LOW_RESERVED_MASK) !== 0,
    };
  }

  /** True when the table has no block for the cluster, so that its refcount is 0. */
  isMissing(cluster: number): boolean {
    const index = Math.floor(cluster / this.#geometry.refcountBlockEntries);
    return index >= this.tableEntries || this.place(index).offset === 0;
  }

  /** A cluster's refcount; undefined when its block is at an impossible place. */
  get(cluster: number): number | undefined {
    const { refcountBlockEntries, refcountBits } = this.#geometry;
    const index = Math.floor(cluster / refcountBlockEntries);
    if (index !== this.#lastIndex) {
      this.#lastBlock = this.isMissing(cluster) ? 'missing' : this.#block(this.place(index).offset);
      this.#lastIndex = index;
    }
    const block = this.#lastBlock;
    if (block === 'missing') return 0;
    if (block === undefined) return undefined;
    const entry = cluster % refcountBlockEntries;
    // Not exact from 2^53 on, but wrong in any case.
    if (refcountBits === 64)
      return block.getUint32(entry * 8) * WORD + block.getUint32(entry * 8 + 4);
    return this.#width.get(block, entry);
  }

  #block(offset: number): DataView | undefined {
    const cached = this.#blocks.get(offset);
    if (cached !== undefined) return cached;
    const { clusterBytes } = this.#geometry;
    if (offset % clusterBytes !== 0) return undefined;
    const [oldest] = this.#blocks.keys();
    if (oldest !== undefined && (this.#blocks.size + 1) * clusterBytes > CACHE_BYTES) {
      this.#blocks.delete(oldest);
    }
    const bytes = new Uint8Array(clusterBytes);
    if (offset < this.#file.sizeBytes()) this.#file.readSync(offset, bytes);
    const block = new DataView(bytes.buffer);
    this.#blocks.set(offset, block);
    return block;
  }
}
