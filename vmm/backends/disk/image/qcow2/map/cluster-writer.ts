import type { ImageMetadata } from '../image-metadata.ts';
import type { ClusterRun } from '../space/allocator.ts';
import type { CachedTable } from '../tables/table-cache.ts';
import type { ImageReader } from './image-reader.ts';
import {
  bitRange,
  compressedHigh,
  compressedSpan,
  EntryKind,
  entryKind,
  hostOffset,
  isCopied,
  lowWord,
  ownedHigh,
} from './l2-entry.ts';
import { mapRun } from './mapping.ts';
import { checkHostCluster } from './placed-run.ts';
import { ALLOCATED_BITS, ZERO_BITS } from './subcluster-mapping.ts';

/** Size of one copy. */
const COPY_BYTES = 2 ** 21;

/**
 * What happens to the range when its clusters are made writable: the given data is written;
 * `overwritten`: the caller writes it before the next flush; `kept`: it keeps its content.
 */
export type RangeContent = Uint8Array | 'overwritten' | 'kept';

/** Guest clusters that are allocated together, and the part of them that is written. */
interface Placement {
  readonly table: CachedTable;
  /** Index of the first cluster in the table. */
  readonly index: number;
  readonly count: number;
  /** Guest offset of the first cluster. */
  readonly guest: number;
  /** Offset of the place in the data file. */
  readonly host: number;
  /** The place reads as zeroes. */
  readonly fresh: boolean;
  /** The (single) cluster has this place already. */
  readonly reused: boolean;
  /** The written part, in guest offsets. */
  readonly from: number;
  readonly to: number;
}

/** Makes guest clusters writable in place and writes. */
export class ClusterWriter {
  readonly #metadata: ImageMetadata;
  readonly #reader: ImageReader;

  constructor(metadata: ImageMetadata, reader: ImageReader) {
    this.#metadata = metadata;
    this.#reader = reader;
  }

  write(offset: number, length: number, content: RangeContent): void {
    const { geometry, l2 } = this.#metadata;
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const l1Index = Math.floor(at / geometry.tableSpanBytes);
      const tableEnd = Math.min(end, (l1Index + 1) * geometry.tableSpanBytes);
      const table = l2.getForWrite(l1Index);
      while (at < tableEnd) {
        const rest = typeof content === 'string' ? content : content.subarray(at - offset);
        at += this.#writePart(table, at, tableEnd - at, rest);
      }
    }
  }

  /**
   * Maps whole clusters that read as zeroes to reserved host clusters, which did so too before they
   * were written. Clusters that are mapped there already are skipped.
   */
  applyClaim(offset: number, length: number, host: number): void {
    const { geometry, l2 } = this.#metadata;
    const { clusterBytes, tableSpanBytes } = geometry;
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const l1Index = Math.floor(at / tableSpanBytes);
      const table = l2.getForWrite(l1Index);
      const index = Math.floor((at % tableSpanBytes) / clusterBytes);
      const partEnd = Math.min(end, (l1Index + 1) * tableSpanBytes);
      this.#adoptPart(table, index, (partEnd - at) / clusterBytes, host + at - offset);
      at = partEnd;
    }
  }

  /** The part of a claim in one table. */
  #adoptPart(table: CachedTable, index: number, count: number, host: number): void {
    const { allocator, geometry } = this.#metadata;
    const place = (cluster: number) => host + cluster * geometry.clusterBytes;
    for (let end = 0; end < count; end++) {
      const first = end;
      while (end < count && !this.#isAt(table, index + end, place(end))) end++;
      if (end > first) allocator.useReserved(place(first) / geometry.clusterBytes, end - first);
      for (let cluster = first; cluster < end; cluster++) {
        const entry = [ownedHigh(place(cluster)), lowWord(place(cluster))] as const;
        this.freeEntry(table, index + cluster);
        this.setEntry(table, index + cluster, ...entry, 0, 0xffff_ffff);
      }
    }
  }

  /** Whether an entry refers to the host cluster at `host`, exclusively. */
  #isAt(table: CachedTable, index: number, host: number): boolean {
    const at = index * this.#metadata.geometry.l2EntryBytes;
    return (
      table.view.getUint32(at) === ownedHigh(host) && table.view.getUint32(at + 4) === lowWord(host)
    );
  }

  /**
   * Maps one whole cluster to compressed data.
   * @param offset guest offset of the cluster
   * @returns false when the format cannot address free space
   */
  writeCompressed(offset: number, deflated: Uint8Array): boolean {
    const { compressedSpace, file, geometry, l2 } = this.#metadata;
    const table = l2.getForWrite(Math.floor(offset / geometry.tableSpanBytes));
    const host = compressedSpace.allocate(deflated.length);
    if (host === undefined) return false;
    file.writeSync(host, deflated);
    const index = Math.floor((offset % geometry.tableSpanBytes) / geometry.clusterBytes);
    this.freeEntry(table, index);
    const high = compressedHigh(host, deflated.length, geometry);
    this.setEntry(table, index, high, lowWord(host), 0, 0);
    return true;
  }

  /** Frees the host clusters that an entry refers to. */
  freeEntry(table: CachedTable, index: number): void {
    const { allocator, geometry } = this.#metadata;
    if (geometry.externalData) return;
    const { clusterBytes } = geometry;
    const high = table.view.getUint32(index * geometry.l2EntryBytes);
    const low = table.view.getUint32(index * geometry.l2EntryBytes + 4);
    const kind = entryKind(high, low, geometry);
    if (kind === EntryKind.COMPRESSED) {
      const span = compressedSpan(high, low, geometry);
      const first = Math.floor(span.offset / clusterBytes);
      const last = Math.floor((span.offset + span.length - 1) / clusterBytes);
      allocator.free(first, last - first + 1);
    } else if (kind === EntryKind.STANDARD || kind === EntryKind.ZERO_ALLOCATED) {
      allocator.free(Math.floor(hostOffset(high, low) / clusterBytes), 1);
    }
  }

  /** Sets an entry; the bitmaps apply to extended L2 entries. */
  setEntry(
    table: CachedTable,
    index: number,
    high: number,
    low: number,
    zeroBits: number,
    allocatedBits: number,
  ): void {
    const { l2EntryBytes } = this.#metadata.geometry;
    const at = index * l2EntryBytes;
    table.view.setUint32(at, high);
    table.view.setUint32(at + 4, low);
    if (l2EntryBytes > 8) {
      table.view.setUint32(at + ZERO_BITS, zeroBits);
      table.view.setUint32(at + ALLOCATED_BITS, allocatedBits);
    }
    table.markDirty(at, l2EntryBytes);
  }

  /** Writes the first part of a range in which all clusters are in the same state. */
  #writePart(table: CachedTable, at: number, length: number, content: RangeContent): number {
    const metadata = this.#metadata;
    const run = mapRun(metadata, at, length);
    if (run.writable && run.file !== undefined) {
      if (typeof content !== 'string') {
        run.file.writeSync(run.fileOffset, content.subarray(0, run.length));
      }
      return run.length;
    }
    const placement = this.#place(table, at, length);
    try {
      this.#fill(placement, content);
    } catch (error) {
      if (!placement.reused) this.#giveBack(placement);
      throw error;
    }
    this.#link(placement);
    return placement.to - at;
  }

  /** Allocates a place for the cluster at `at` and for following clusters that need one too. */
  #place(table: CachedTable, at: number, length: number): Placement {
    const { allocator, dataFile, geometry } = this.#metadata;
    const { clusterBytes } = geometry;
    const index = Math.floor((at % geometry.tableSpanBytes) / clusterBytes);
    const guest = at - (at % clusterBytes);
    const owned = this.#ownedHost(table, index);
    const common = { table, index, guest, from: at };
    if (owned !== undefined) {
      const to = Math.min(at + length, guest + clusterBytes);
      return { ...common, count: 1, host: owned, fresh: false, reused: true, to };
    }
    const wanted = Math.ceil((at + length - guest) / clusterBytes);
    let count = 1;
    while (count < wanted && this.#ownedHost(table, index + count) === undefined) count++;
    if (geometry.externalData) {
      const fresh = !dataFile.isBlockDevice && guest >= dataFile.sizeBytes();
      const to = Math.min(at + length, guest + count * clusterBytes);
      return { ...common, count, host: guest, fresh, reused: false, to };
    }
    const run = allocator.allocate(count);
    const to = Math.min(at + length, guest + run.count * clusterBytes);
    const host = run.first * clusterBytes;
    return { ...common, count: run.count, host, fresh: run.fresh, reused: false, to };
  }

  /** The place that a cluster owns exclusively, if any. */
  #ownedHost(table: CachedTable, index: number): number | undefined {
    const metadata = this.#metadata;
    const { clusterBytes, externalData, l2EntryBytes } = metadata.geometry;
    const high = table.view.getUint32(index * l2EntryBytes);
    const low = table.view.getUint32(index * l2EntryBytes + 4);
    const kind = entryKind(high, low, metadata.geometry);
    if (kind !== EntryKind.STANDARD && kind !== EntryKind.ZERO_ALLOCATED) return undefined;
    const host = hostOffset(high, low);
    checkHostCluster(metadata, host, table, index);
    // With an external data file a cluster cannot move.
    if (!isCopied(high) && !externalData) return undefined;
    if (!externalData && metadata.overlapsMetadata(host, clusterBytes)) {
      metadata.corrupt(`a guest cluster at ${host} overlaps metadata`);
    }
    return host;
  }

  /** Writes to the place everything that the clusters' new entries will refer to. */
  #fill(placement: Placement, content: RangeContent): void {
    const { clusterBytes, subclusterBytes } = this.#metadata.geometry;
    const { guest, host, from, to, count } = placement;
    const first = this.#keptSubclusters(placement, 0);
    const last = count > 1 ? this.#keptSubclusters(placement, count - 1) : 0;
    this.#copySubclusters(placement, 0, first);
    this.#copySubclusters(placement, count - 1, last);
    const begin = from - (from % subclusterBytes);
    const end = Math.min(
      Math.ceil(to / subclusterBytes) * subclusterBytes,
      guest + count * clusterBytes,
    );
    if (content === 'kept') {
      this.#copyAbsent(placement, begin, end);
      return;
    }
    // Sub-clusters that are partly written.
    if (!this.#isPresent(placement, from)) this.#copy(placement, begin, from);
    if (!this.#isPresent(placement, to - 1)) this.#copy(placement, to, end);
    if (content === 'overwritten') return;
    this.#metadata.dataFile.writeSync(host + from - guest, content.subarray(0, to - from));
  }

  /** Copies whole sub-clusters that are not in the place already. */
  #copyAbsent(placement: Placement, begin: number, end: number): void {
    const { subclusterBytes } = this.#metadata.geometry;
    for (let at = begin; at < end; ) {
      const start = at;
      while (at < end && !this.#isPresent(placement, at)) {
        at = placement.reused ? at + subclusterBytes : end;
      }
      this.#copy(placement, start, at);
      while (at < end && this.#isPresent(placement, at)) at += subclusterBytes;
    }
  }

  #copySubclusters(placement: Placement, cluster: number, mask: number): void {
    const { clusterBytes, subclusterBytes, subclusters } = this.#metadata.geometry;
    const guest = placement.guest + cluster * clusterBytes;
    for (let sub = 0; sub < subclusters; sub++) {
      if (((mask >>> sub) & 1) === 0) continue;
      const first = sub;
      while (sub + 1 < subclusters && ((mask >>> (sub + 1)) & 1) !== 0) sub++;
      this.#copy(placement, guest + first * subclusterBytes, guest + (sub + 1) * subclusterBytes);
    }
  }

  /** Copies the current content of a guest range to its new place. */
  #copy(placement: Placement, from: number, to: number): void {
    const { dataFile, geometry, header } = this.#metadata;
    // An external data file ends with the disk, and a block device cannot grow.
    const end = geometry.externalData ? Math.min(to, header.current.sizeBytes) : to;
    for (let at = from; at < end; at += COPY_BYTES) {
      const length = Math.min(COPY_BYTES, end - at);
      const host = placement.host + at - placement.guest;
      if (this.#reader.readsAsZero(at, length)) {
        if (!placement.fresh) dataFile.writeZeroesSync(host, length, false);
        continue;
      }
      const bytes = new Uint8Array(length);
      this.#reader.readSync(at, bytes);
      dataFile.writeSync(host, bytes);
    }
  }

  /** Whether the place has the content of the sub-cluster at a guest offset already. */
  #isPresent(placement: Placement, at: number): boolean {
    const { clusterBytes, extendedL2, subclusterBytes } = this.#metadata.geometry;
    if (!placement.reused || !extendedL2) return false;
    const sub = Math.floor((at % clusterBytes) / subclusterBytes);
    return ((this.#allocatedBits(placement, 0) >>> sub) & 1) !== 0;
  }

  /** Sub-clusters that are not written and whose content goes to the new place. */
  #keptSubclusters(placement: Placement, cluster: number): number {
    const { extendedL2 } = this.#metadata.geometry;
    if (!extendedL2 || placement.reused) return 0;
    const present = this.#isCompressed(placement, cluster)
      ? 0xffff_ffff
      : this.#allocatedBits(placement, cluster);
    return (present & ~this.#writtenSubclusters(placement, cluster)) >>> 0;
  }

  #writtenSubclusters(placement: Placement, cluster: number): number {
    const { clusterBytes, subclusterBytes, subclusters } = this.#metadata.geometry;
    const guest = placement.guest + cluster * clusterBytes;
    const first = Math.max(0, Math.floor((placement.from - guest) / subclusterBytes));
    const end = Math.min(subclusters, Math.ceil((placement.to - guest) / subclusterBytes));
    return bitRange(first, end);
  }

  #allocatedBits({ table, index }: Placement, cluster: number): number {
    return table.view.getUint32((index + cluster) * 16 + ALLOCATED_BITS);
  }

  #isCompressed({ table, index }: Placement, cluster: number): boolean {
    const { geometry } = this.#metadata;
    const at = (index + cluster) * geometry.l2EntryBytes;
    const kind = entryKind(table.view.getUint32(at), table.view.getUint32(at + 4), geometry);
    return kind === EntryKind.COMPRESSED;
  }

  /** Updates the entries to refer to the place. */
  #link(placement: Placement): void {
    const { clusterBytes, extendedL2 } = this.#metadata.geometry;
    const { table, reused } = placement;
    for (let cluster = 0; cluster < placement.count; cluster++) {
      const index = placement.index + cluster;
      const host = placement.host + cluster * clusterBytes;
      let allocated = 0;
      let zero = 0;
      if (extendedL2) {
        allocated = this.#writtenSubclusters(placement, cluster);
        if (reused) allocated |= this.#allocatedBits(placement, cluster);
        else allocated |= this.#keptSubclusters(placement, cluster);
        const compressed = this.#isCompressed(placement, cluster);
        zero = compressed ? 0 : table.view.getUint32(index * 16 + ZERO_BITS) & ~allocated;
      }
      if (!reused) this.freeEntry(table, index);
      this.setEntry(table, index, ownedHigh(host), lowWord(host), zero >>> 0, allocated >>> 0);
    }
  }

  #giveBack({ host, count, fresh }: Placement): void {
    const { allocator, geometry } = this.#metadata;
    if (geometry.externalData) return;
    const run: ClusterRun = { first: host / geometry.clusterBytes, count, fresh };
    allocator.giveBack(run);
  }
}
