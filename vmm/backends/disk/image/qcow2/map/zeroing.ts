/**
 * Write-zeroes and discard with the results of QEMU 7.2:
 * - Zeroes are a flag in the L2 entry (version 3) or bits in its bitmap. Space is deallocated when the
 *   caller allows it, that of compressed clusters always.
 * - Discard acts on whole clusters. In version 3 they become zero clusters without space; clusters
 *   that were never allocated stay so, unless a backing image would show through. In version 2 they
 *   become unallocated, and nothing happens when there is a backing image.
 */
import { LOW_ZERO } from '../header/layout.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import type { FlushDriver } from '../tables/flush-driver.ts';
import type { CachedTable } from '../tables/table-cache.ts';
import type { ClusterWriter } from './cluster-writer.ts';
import type { ImageReader } from './image-reader.ts';
import { EntryKind, entryKind } from './l2-entry.ts';
import { mapRun } from './mapping.ts';
import { ALLOCATED_BITS, ZERO_BITS } from './subcluster-mapping.ts';

const ALL_SUBCLUSTERS = 0xffff_ffff;

export class Zeroing {
  readonly #metadata: ImageMetadata;
  readonly #reader: ImageReader;
  readonly #writer: ClusterWriter;
  readonly #flushes: FlushDriver;
  readonly #hasBacking: boolean;

  constructor(
    metadata: ImageMetadata,
    reader: ImageReader,
    writer: ClusterWriter,
    flushes: FlushDriver,
    hasBacking: boolean,
  ) {
    this.#metadata = metadata;
    this.#reader = reader;
    this.#writer = writer;
    this.#flushes = flushes;
    this.#hasBacking = hasBacking;
  }

  /** Makes a range read as zeroes. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#eachTable(offset, length, (at, part) => this.#writeZeroesIn(at, part, mayUnmap));
  }

  /** Deallocates the whole clusters in a range. */
  discard(offset: number, length: number): void {
    this.#eachTable(offset, length, (at, part) => this.#discardIn(at, part));
  }

  /** Makes whole clusters unallocated: past the image's end, or so that the backing image shows. */
  deallocate(offset: number, length: number): void {
    this.#eachTable(offset, length, (at, part) => this.#deallocateIn(at, part));
  }

  /** Calls `act` for the part of a range in each L2 table; flushes in between when tables are many. */
  #eachTable(offset: number, length: number, act: (at: number, length: number) => void): void {
    const { tableSpanBytes } = this.#metadata.geometry;
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const stop = Math.min(end, (Math.floor(at / tableSpanBytes) + 1) * tableSpanBytes);
      act(at, stop - at);
      at = stop;
      if (this.#metadata.isCrowded) this.#flushes.sync();
    }
  }

  #writeZeroesIn(offset: number, length: number, mayUnmap: boolean): void {
    const { geometry } = this.#metadata;
    const unit = geometry.subclusterBytes;
    const end = offset + length;
    const headEnd = Math.ceil(offset / unit) * unit;
    const tailStart = this.#isImageEnd(end) ? end : end - (end % unit);
    if (headEnd > tailStart) {
      this.#zeroPart(offset, end, mayUnmap);
      return;
    }
    if (headEnd > offset) this.#zeroPart(offset, headEnd, mayUnmap);
    if (tailStart > headEnd) this.#zeroUnits(headEnd, tailStart, mayUnmap);
    if (end > tailStart) this.#zeroPart(tailStart, end, mayUnmap);
  }

  #discardIn(offset: number, length: number): void {
    const { clusterBytes, version } = this.#metadata.geometry;
    if (version < 3 && this.#hasBacking) return;
    const end = offset + length;
    const first = Math.ceil(offset / clusterBytes) * clusterBytes;
    const stop = this.#isImageEnd(end)
      ? Math.ceil(end / clusterBytes) * clusterBytes
      : end - (end % clusterBytes);
    if (stop <= first) return;
    const table = this.#tableFor(first, !this.#hasBacking);
    if (table === undefined) return;
    const index = this.#indexOf(first);
    for (let at = first; at < stop; at += clusterBytes) {
      this.#discardCluster(table, index + (at - first) / clusterBytes, at);
    }
  }

  #deallocateIn(offset: number, length: number): void {
    const { clusterBytes, l2Entries } = this.#metadata.geometry;
    const table = this.#tableFor(offset, true);
    if (table === undefined) return;
    const first = this.#indexOf(offset);
    const end = Math.min(first + length / clusterBytes, l2Entries);
    for (let index = first; index < end; index++) {
      if (this.#kindOf(table, index) === EntryKind.UNALLOCATED && !this.#hasBits(table, index)) {
        continue;
      }
      this.#writer.freeEntry(table, index);
      this.#writer.setEntry(table, index, 0, 0, 0, 0);
    }
  }

  /** A range that ends with the image counts as ending with its last cluster. */
  #isImageEnd(end: number): boolean {
    return end === this.#metadata.header.current.sizeBytes;
  }

  #indexOf(offset: number): number {
    const { clusterBytes, tableSpanBytes } = this.#metadata.geometry;
    return Math.floor((offset % tableSpanBytes) / clusterBytes);
  }

  /** @param skipIfAbsent returns undefined instead of allocating an L2 table */
  #tableFor(offset: number, skipIfAbsent: boolean): CachedTable | undefined {
    const { geometry, l2 } = this.#metadata;
    const l1Index = Math.floor(offset / geometry.tableSpanBytes);
    if (skipIfAbsent && l2.get(l1Index) === undefined) return undefined;
    return l2.getForWrite(l1Index);
  }

  /** A range inside one unit, smaller than it. */
  #zeroPart(from: number, to: number, mayUnmap: boolean): void {
    const { subclusterBytes } = this.#metadata.geometry;
    const start = from - (from % subclusterBytes);
    const end = start + subclusterBytes;
    // Equal to zeroing the whole unit when the rest is zero already.
    if (this.#reader.readsAsZero(start, from - start) && this.#reader.readsAsZero(to, end - to)) {
      const { sizeBytes } = this.#metadata.header.current;
      this.#zeroUnits(start, Math.min(end, sizeBytes), mayUnmap);
      return;
    }
    this.#writeZeroBytes(from, to, mayUnmap);
  }

  /** Allocates the range and writes zeroes there. */
  #writeZeroBytes(from: number, to: number, mayUnmap: boolean): void {
    this.#writer.write(from, to - from, 'overwritten');
    for (let at = from; at < to; ) {
      const run = mapRun(this.#metadata, at, to - at);
      run.file?.writeZeroesSync(run.fileOffset, run.length, mayUnmap);
      at += run.length;
    }
  }

  /** Whole units; the last may be cut by the image's end. */
  #zeroUnits(from: number, to: number, mayUnmap: boolean): void {
    const { clusterBytes, rawExternalData, version } = this.#metadata.geometry;
    if (version < 3) {
      this.#zeroOldVersion(from, to, mayUnmap);
      return;
    }
    // "The external data file shows the guest's content": its bytes have to be zero as well.
    if (rawExternalData) this.#metadata.dataFile.writeZeroesSync(from, to - from, mayUnmap);
    const table = this.#tableFor(from, mayUnmap && !this.#hasBacking);
    if (table === undefined) return;
    for (let at = from; at < to; ) {
      const clusterEnd = at - (at % clusterBytes) + clusterBytes;
      const end = Math.min(to, clusterEnd);
      const whole = at % clusterBytes === 0 && (end === clusterEnd || this.#isImageEnd(end));
      if (whole) this.#zeroCluster(table, this.#indexOf(at), at, mayUnmap);
      else this.#zeroSubclusters(table, at, end, mayUnmap);
      at = end;
    }
  }

  #zeroCluster(table: CachedTable, index: number, guest: number, mayUnmap: boolean): void {
    const { extendedL2, l2EntryBytes } = this.#metadata.geometry;
    const kind = this.#kindOf(table, index);
    const unmap =
      kind === EntryKind.COMPRESSED ||
      (mayUnmap && (kind === EntryKind.STANDARD || kind === EntryKind.ZERO_ALLOCATED));
    const at = index * l2EntryBytes;
    const high = table.view.getUint32(at);
    const low = table.view.getUint32(at + 4);
    const keptHigh = unmap ? 0 : high;
    const zeroFlag = extendedL2 ? 0 : LOW_ZERO;
    const keptLow = ((unmap ? 0 : low) | zeroFlag) >>> 0;
    if (keptHigh === high && keptLow === low && this.#isAllZero(table, index)) return;
    if (unmap) this.#freeCluster(table, index, guest);
    this.#writer.setEntry(table, index, keptHigh, keptLow, ALL_SUBCLUSTERS, 0);
  }

  /** Sub-clusters of one cluster: bits of its bitmap, unless the cluster is compressed. */
  #zeroSubclusters(table: CachedTable, from: number, to: number, mayUnmap: boolean): void {
    const { clusterBytes, subclusterBytes } = this.#metadata.geometry;
    const index = this.#indexOf(from);
    if (this.#kindOf(table, index) === EntryKind.COMPRESSED) {
      this.#writeZeroBytes(from, to, mayUnmap);
      return;
    }
    const first = Math.floor((from % clusterBytes) / subclusterBytes);
    const count = Math.ceil((to - from) / subclusterBytes);
    const mask = (((2 ** count - 1) >>> 0) << first) >>> 0;
    const at = index * 16;
    const zero = table.view.getUint32(at + ZERO_BITS);
    const allocated = table.view.getUint32(at + ALLOCATED_BITS);
    this.#writer.setEntry(
      table,
      index,
      table.view.getUint32(at),
      table.view.getUint32(at + 4),
      (zero | mask) >>> 0,
      (allocated & ~mask) >>> 0,
    );
  }

  /** Version 2 has no zero flag: clusters are deallocated, or zeroes are written. */
  #zeroOldVersion(from: number, to: number, mayUnmap: boolean): void {
    const { clusterBytes } = this.#metadata.geometry;
    if (mayUnmap && !this.#hasBacking) {
      this.#discardIn(from, to - from);
      return;
    }
    for (let at = from; at < to; ) {
      const end = Math.min(to, at - (at % clusterBytes) + clusterBytes);
      if (!this.#reader.readsAsZero(at, end - at)) this.#writeZeroBytes(at, end, false);
      at = end;
    }
  }

  #discardCluster(table: CachedTable, index: number, guest: number): void {
    const { extendedL2, l2EntryBytes, version } = this.#metadata.geometry;
    const kind = this.#kindOf(table, index);
    const allocated =
      kind === EntryKind.STANDARD ||
      kind === EntryKind.ZERO_ALLOCATED ||
      kind === EntryKind.COMPRESSED;
    if (!allocated && !this.#hasBacking) return;
    const at = index * l2EntryBytes;
    const zeroFlag = version >= 3 && !extendedL2 ? LOW_ZERO : 0;
    const same = table.view.getUint32(at) === 0 && table.view.getUint32(at + 4) === zeroFlag;
    if (same && this.#isAllZero(table, index)) return;
    this.#freeCluster(table, index, guest);
    this.#writer.setEntry(table, index, 0, zeroFlag, ALL_SUBCLUSTERS, 0);
  }

  /** Deallocates a cluster. */
  #freeCluster(table: CachedTable, index: number, guest: number): void {
    const { dataFile, geometry, header } = this.#metadata;
    if (!geometry.externalData) {
      this.#writer.freeEntry(table, index);
      return;
    }
    // Its place in the data file is never reused, so there is nothing to wait for.
    const length = Math.min(geometry.clusterBytes, header.current.sizeBytes - guest);
    const present = Math.min(length, dataFile.sizeBytes() - guest);
    if (present > 0) dataFile.writeZeroesSync(guest, present, true);
  }

  #kindOf(table: CachedTable, index: number): EntryKind {
    const { geometry } = this.#metadata;
    const at = index * geometry.l2EntryBytes;
    const high = table.view.getUint32(at);
    const low = table.view.getUint32(at + 4);
    return entryKind(high, low, geometry);
  }

  /** Whether the bitmap says that all is zero; standard entries have no bitmap and count as such. */
  #isAllZero(table: CachedTable, index: number): boolean {
    if (!this.#metadata.geometry.extendedL2) return true;
    return table.view.getUint32(index * 16 + ZERO_BITS) === ALL_SUBCLUSTERS;
  }

  #hasBits(table: CachedTable, index: number): boolean {
    if (!this.#metadata.geometry.extendedL2) return false;
    const at = index * 16;
    return table.view.getUint32(at + ZERO_BITS) !== 0;
  }
}
