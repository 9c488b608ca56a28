import { TsvmError } from '../../../../../errors.ts';
import type { MetadataHost } from '../metadata-host.ts';
import type { Allocator } from '../space/allocator.ts';
import { type CachedTable, TableCache } from '../tables/table-cache.ts';

/** The L2 tables of the active L1 table. */
export class L2Tables {
  readonly cache: TableCache;
  readonly #host: MetadataHost;
  readonly #allocator: Allocator;

  /** @param cacheBytes memory for the tables */
  constructor(host: MetadataHost, allocator: Allocator, cacheBytes: number) {
    this.#host = host;
    this.#allocator = allocator;
    this.cache = new TableCache(host.geometry.clusterBytes, cacheBytes);
  }

  /**
   * The L2 table of an L1 entry, which may be shared with snapshots; undefined if there is none.
   * @throws TsvmError `invalid-disk` when the L1 entry is invalid
   */
  get(l1Index: number): CachedTable | undefined {
    const cached = this.cache.get(l1Index);
    if (cached !== undefined) return cached;
    const { file, geometry, l1 } = this.#host;
    const allocator = this.#allocator;
    if (l1Index >= l1.entries) return undefined;
    const offset = l1.l2Offset(l1Index);
    if (offset === 0) return undefined;
    const { clusterBytes } = geometry;
    if (offset % clusterBytes !== 0 || offset >= allocator.endOffset) {
      throw new TsvmError(
        'invalid-disk',
        `${file.path}: L1 table entry ${l1Index} points to ${offset}, where no L2 table can be`,
      );
    }
    const bytes = new Uint8Array(clusterBytes);
    file.readSync(offset, bytes);
    return this.cache.add(l1Index, offset, bytes, true);
  }

  /**
   * The L2 table of an L1 entry, created or copied as needed so that its entries may be changed.
   */
  getForWrite(l1Index: number): CachedTable {
    const present = this.get(l1Index);
    const { geometry, l1 } = this.#host;
    const allocator = this.#allocator;
    if (present !== undefined && l1.isOwned(l1Index)) return present;
    const metadataClusters = this.#host.metadataClusters();
    const { first, fresh } = allocator.allocate(1);
    const bytes = present?.bytes.slice() ?? new Uint8Array(geometry.clusterBytes);
    const offset = first * geometry.clusterBytes;
    const table = this.cache.add(l1Index, offset, bytes, false);
    if (!fresh || present !== undefined) table.markDirty(0, bytes.byteLength);
    l1.setOwned(l1Index, offset);
    metadataClusters.add(first, 1);
    if (present !== undefined) {
      const old = present.fileOffset / geometry.clusterBytes;
      metadataClusters.remove(old, 1);
      allocator.free(old, 1);
    }
    return table;
  }

  /** Removes a table, whose entries refer to nothing any more, from the L1 table. */
  drop(l1Index: number): void {
    const { geometry, l1 } = this.#host;
    const allocator = this.#allocator;
    const metadataClusters = this.#host.metadataClusters();
    const offset = l1.l2Offset(l1Index);
    if (offset === 0) return;
    this.cache.remove(l1Index);
    l1.clear(l1Index);
    metadataClusters.remove(offset / geometry.clusterBytes, 1);
    allocator.free(offset / geometry.clusterBytes, 1);
  }
}
