import { TsvmError } from '../../../../../errors.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import type { Geometry } from '../header/geometry.ts';
import type { MetadataTable } from '../tables/metadata-table.ts';
import { type CachedTable, TableCache } from '../tables/table-cache.ts';
import { type RefcountWidth, refcountWidth } from './refcount-width.ts';

const WORD = 2 ** 32;
const ENTRY_BYTES = 8;

/**
 * The reference counts of host clusters: docs/interop/qcow2.txt, "Host cluster management". A
 * cluster is identified by its index, the host offset divided by the cluster size.
 */
export class Refcounts {
  /** The highest refcount that the image's width allows. */
  readonly max: number;
  readonly blocks: TableCache;
  readonly #file: ImageFile;
  readonly #geometry: Geometry;
  readonly #width: RefcountWidth;
  readonly #blockEntries: number;
  #table: MetadataTable;

  /**
   * @param table the refcount table
   * @param cacheBytes memory for refcount blocks
   */
  constructor(file: ImageFile, geometry: Geometry, table: MetadataTable, cacheBytes: number) {
    this.#file = file;
    this.#geometry = geometry;
    this.#table = table;
    this.#width = refcountWidth(geometry.refcountBits);
    this.#blockEntries = geometry.refcountBlockEntries;
    this.max = this.#width.max;
    this.blocks = new TableCache(geometry.clusterBytes, cacheBytes);
  }

  get table(): MetadataTable {
    return this.#table;
  }

  /** Number of entries in the refcount table. */
  get tableEntries(): number {
    return this.#table.bytes.byteLength / ENTRY_BYTES;
  }

  /** @throws TsvmError `invalid-disk` when the refcount table is invalid */
  get(cluster: number): number {
    const block = this.#block(this.blockOf(cluster));
    return block === undefined ? 0 : this.#width.get(block.view, cluster % this.#blockEntries);
  }

  /** Sets the refcount in memory; the cluster's refcount block must exist. */
  set(cluster: number, refcount: number): void {
    const index = this.blockOf(cluster);
    const block = this.#block(index);
    if (block === undefined) {
      throw new TsvmError('invalid-disk', `${this.#file.path} has no refcount block ${index}`);
    }
    const entry = cluster % this.#blockEntries;
    this.#width.set(block.view, entry, refcount);
    block.markDirty(Math.floor((entry * this.#geometry.refcountBits) / 8), 1);
  }

  /** Adds `by` to a refcount and returns the result, which must stay in 0…{@link max}. */
  add(cluster: number, by: number): number {
    const refcount = this.get(cluster) + by;
    if (refcount < 0 || refcount > this.max) {
      throw new TsvmError(
        'invalid-disk',
        `${this.#file.path}: the refcount of cluster ${cluster} cannot become ${refcount} ` +
          `(${this.#geometry.refcountBits}-bit refcounts)`,
      );
    }
    this.set(cluster, refcount);
    return refcount;
  }

  /** The index of the refcount block that has a cluster's refcount. */
  blockOf(cluster: number): number {
    return Math.floor(cluster / this.#blockEntries);
  }

  hasBlock(index: number): boolean {
    return index < this.tableEntries && this.blockOffset(index) !== 0;
  }

  /** The first cluster from `from` on whose refcount is 0. */
  nextFree(from: number): number {
    for (let cluster = from; ; ) {
      const index = this.blockOf(cluster);
      const block = this.#block(index);
      if (block === undefined) return cluster;
      const end = (index + 1) * this.#blockEntries;
      for (let entry = cluster % this.#blockEntries; cluster < end; cluster++, entry++) {
        if (this.#width.get(block.view, entry) === 0) return cluster;
      }
    }
  }

  /**
   * Number of clusters from `first` on with refcount 0, at most `wanted`, in one refcount block.
   */
  freeRun(first: number, wanted: number): number {
    const block = this.#block(this.blockOf(first));
    const start = first % this.#blockEntries;
    const end = Math.min(start + wanted, this.#blockEntries);
    if (block === undefined) return end - start;
    let entry = start;
    while (entry < end && this.#width.get(block.view, entry) === 0) entry++;
    return entry - start;
  }

  /**
   * Adds an empty refcount block.
   * @param cluster the host cluster that holds it
   * @param fresh the file reads as zeroes there, or ends before
   */
  createBlock(index: number, cluster: number, fresh: boolean): void {
    const { clusterBytes } = this.#geometry;
    const offset = cluster * clusterBytes;
    const block = this.blocks.add(index, offset, new Uint8Array(clusterBytes), true);
    if (!fresh) block.markDirty(0, clusterBytes);
    this.#table.view.setUint32(index * ENTRY_BYTES, Math.floor(offset / WORD));
    this.#table.view.setUint32(index * ENTRY_BYTES + 4, offset >>> 0);
    this.#table.markDirty(index * ENTRY_BYTES, ENTRY_BYTES);
  }

  /** True when an existing refcount block counts no cluster except its own. */
  countsOnlyItself(index: number): boolean {
    const first = index * this.#blockEntries;
    const own = this.blockOffset(index) / this.#geometry.clusterBytes;
    for (let cluster = first; cluster < first + this.#blockEntries; cluster++) {
      if (cluster !== own && this.get(cluster) !== 0) return false;
    }
    return true;
  }

  /** Removes a refcount block from the table: its refcounts are 0 from then on. */
  dropBlock(index: number): void {
    this.blocks.remove(index);
    this.#table.view.setBigUint64(index * ENTRY_BYTES, 0n);
    this.#table.markDirty(index * ENTRY_BYTES, ENTRY_BYTES);
  }

  /** Replaces the table by one that has all its entries. */
  replaceTable(table: MetadataTable): void {
    this.#table = table;
  }

  /** Host offset of a refcount block, 0 if there is none; not checked. */
  blockOffset(index: number): number {
    const { view } = this.#table;
    return view.getUint32(index * ENTRY_BYTES) * WORD + view.getUint32(index * ENTRY_BYTES + 4);
  }

  #block(index: number): CachedTable | undefined {
    const cached = this.blocks.get(index);
    if (cached !== undefined) return cached;
    if (!this.hasBlock(index)) return undefined;
    const offset = this.blockOffset(index);
    const { clusterBytes } = this.#geometry;
    if (offset % clusterBytes !== 0 || offset < clusterBytes || offset >= this.#file.sizeBytes()) {
      throw new TsvmError(
        'invalid-disk',
        `${this.#file.path}: refcount table entry ${index} points to ${offset}, where no refcount ` +
          'block can be',
      );
    }
    const bytes = new Uint8Array(clusterBytes);
    this.#file.readSync(offset, bytes);
    return this.blocks.add(index, offset, bytes, true);
  }
}
