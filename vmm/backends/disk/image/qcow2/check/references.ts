/** Counts the references to each host cluster of an image. */
import { TsvmError } from '../../../../../errors.ts';
import { readBitmapDirectory, readBitmapTable } from '../bitmap/bitmap-tables.ts';
import { L1_ENTRY_BYTES } from '../map/l1-table.ts';
import { hostOffset, isCopied } from '../map/l2-entry.ts';
import { type Snapshot, snapshotL1Problem } from '../snapshot/snapshot-table.ts';
import type { CheckedImage } from './checked-image.ts';
import { ClusterCounts } from './cluster-counts.ts';
import { type L2Findings, L2Walk } from './l2-walk.ts';

/** QEMU's limit of a checked file, in clusters. */
const FILE_CLUSTERS_MAX = 2 ** 31 - 1;
/**
 * Tens of thousands of snapshots and bitmaps may share one table of millions of entries: an image
 * with more entries to follow than this is hostile. It allows 64 L1 tables of the largest size.
 */
const ENTRIES_MAX = 2 ** 28;
/** Unaligned L2 tables may overlap, so there may be far more than the file has room for. */
const UNALIGNED_TABLES_MAX = 1024;

/** "L1 table entry": bits that are reserved. */
export const L1_HIGH_RESERVED_MASK = 0x7f00_0000;
export const L1_LOW_RESERVED_MASK = 0x1ff;

/** Number of references to an L2 table from the active L1 table and from those of snapshots. */
interface TableUse {
  active: number;
  inactive: number;
}

/** What was found. */
export interface References {
  /** References to each host cluster. */
  readonly counts: ClusterCounts;
  /** Clusters of the file, including a partial one at its end. */
  readonly clusters: number;
  /** References from L1 tables to each L2 table, by state. */
  readonly activeTables: ClusterCounts;
  readonly inactiveTables: ClusterCounts;
  readonly needs: RepairNeeds;
}

/** What a repair must do besides setting refcounts. */
export interface RepairNeeds extends L2Findings {
  /** The refcount structure is at an unusable place and must be rewritten. */
  refcountsBroken: boolean;
  bitmapsBroken: boolean;
  snapshotsIncomplete: boolean;
  /** Something is past the file's end: the file was truncated, and nothing may be put there. */
  pastEnd: boolean;
}

/** What to count: everything, or everything except the refcount table and its blocks. */
export type CountedPart = 'all' | 'without refcounts';

/**
 * Walks everything in the image. References to the same L2 table are counted together and the table
 * is read once, so that circular or shared references cost no more than the file's size.
 *
 * @throws TsvmError `invalid-disk` when the image cannot be checked within the limits
 */
export function countReferences(image: CheckedImage, part: CountedPart = 'all'): References {
  return new ReferenceWalk(image).run(part);
}

class ReferenceWalk {
  readonly #image: CheckedImage;
  readonly #counts = new ClusterCounts();
  readonly #activeTables = new ClusterCounts();
  readonly #inactiveTables = new ClusterCounts();
  readonly #unalignedTables = new Map<number, TableUse>();
  readonly #fileBytes: number;
  #clusters: number;
  #entries = 0;
  readonly #needs: RepairNeeds = {
    repairableEntries: 0,
    copiedMismatches: 0,
    refcountsBroken: false,
    bitmapsBroken: false,
    snapshotsIncomplete: false,
    pastEnd: false,
  };

  constructor(image: CheckedImage) {
    this.#image = image;
    this.#fileBytes = image.file.sizeBytes();
    this.#clusters = Math.ceil(this.#fileBytes / image.geometry.clusterBytes);
    if (this.#clusters > FILE_CLUSTERS_MAX) {
      throw new TsvmError(
        'invalid-disk',
        `${image.file.path} has ${this.#clusters} clusters, more than can be checked ` +
          `(${FILE_CLUSTERS_MAX}); is it truncated to a wrong size?`,
      );
    }
  }

  run(part: CountedPart): References {
    const { header, snapshotTable, geometry } = this.#image;
    this.#add(0, geometry.clusterBytes, 1, 'the header');
    this.#walkL1(header.l1Offset, header.l1Entries, true, 'the L1 table');
    this.#walkSnapshots();
    this.#walkL2Tables();
    this.#add(header.snapshotsOffset, snapshotTable.bytes, 1, 'the snapshot table');
    this.#walkBitmaps();
    if (part === 'all') {
      const refcountTableBytes = header.refcountTableClusters * geometry.clusterBytes;
      this.#add(header.refcountTableOffset, refcountTableBytes, 1, 'the refcount table');
      this.#walkRefcountBlocks();
    }
    return {
      counts: this.#counts,
      clusters: this.#clusters,
      activeTables: this.#activeTables,
      inactiveTables: this.#inactiveTables,
      needs: this.#needs,
    };
  }

  /** Counts `times` references to each cluster that the range touches. */
  #add(offset: number, length: number, times: number, what: string | (() => string)): void {
    const { geometry, report, stored } = this.#image;
    if (length <= 0) return;
    // The file's last cluster may be incomplete.
    if (offset + length - this.#fileBytes >= geometry.clusterBytes) {
      const name = typeof what === 'string' ? what : what();
      report.corruption(`${name} at ${offset} (${length} bytes) is past the file's end`, times);
      this.#needs.pastEnd = true;
      return;
    }
    const first = Math.floor(offset / geometry.clusterBytes);
    const last = Math.floor((offset + length - 1) / geometry.clusterBytes);
    this.#clusters = Math.max(this.#clusters, last + 1);
    for (let cluster = first; cluster <= last; cluster++) {
      const count = this.#counts.add(cluster, times);
      const overflow = Math.min(times, count - stored.max);
      if (overflow <= 0) continue;
      report.corruption(
        `cluster ${cluster} has more references than a ${geometry.refcountBits}-bit refcount can ` +
          'count; copy the image with "tsvm image convert"',
        overflow,
      );
    }
  }

  #walkL1(offset: number, entries: number, active: boolean, what: string): void {
    const { file, report } = this.#image;
    this.#add(offset, entries * L1_ENTRY_BYTES, 1, what);
    const bytes = new Uint8Array(entries * L1_ENTRY_BYTES);
    if (offset < this.#fileBytes) file.readSync(offset, bytes);
    const view = new DataView(bytes.buffer);
    for (let index = 0; index < entries; index++) {
      const high = view.getUint32(index * L1_ENTRY_BYTES);
      const low = view.getUint32(index * L1_ENTRY_BYTES + 4);
      if ((high | low) === 0) continue;
      if ((high & L1_HIGH_RESERVED_MASK) !== 0 || (low & L1_LOW_RESERVED_MASK) !== 0) {
        report.corruption(`${what}: entry ${index} has reserved bits set`);
        this.#needs.repairableEntries++;
      } else if (hostOffset(high, low) === 0) {
        this.#needs.repairableEntries++;
      }
      this.#useL2Table(hostOffset(high, low), active, `${what}: entry ${index}`);
      if (active) this.#checkL1Copied(high, hostOffset(high, low), index);
    }
  }

  #useL2Table(offset: number, active: boolean, what: string): void {
    const { geometry, report } = this.#image;
    this.#add(offset, geometry.clusterBytes, 1, `${what}: its L2 table`);
    const aligned = offset % geometry.clusterBytes === 0;
    if (!aligned) {
      report.corruption(`${what} points to ${offset}, which is not aligned to a cluster`);
    }
    // Past the file's end there are only zeroes.
    if (offset >= this.#fileBytes) return;
    if (aligned) {
      const tables = active ? this.#activeTables : this.#inactiveTables;
      tables.add(offset / geometry.clusterBytes, 1);
      return;
    }
    const use = this.#unalignedTables.get(offset) ?? { active: 0, inactive: 0 };
    if (active) use.active++;
    else use.inactive++;
    this.#unalignedTables.set(offset, use);
    if (this.#unalignedTables.size > UNALIGNED_TABLES_MAX) {
      throw new TsvmError(
        'invalid-disk',
        `${this.#image.file.path} cannot be checked: more than ${UNALIGNED_TABLES_MAX} of its L1 ` +
          'entries are not aligned to a cluster',
      );
    }
  }

  #checkL1Copied(high: number, l2Offset: number, index: number): void {
    const { geometry, report, stored } = this.#image;
    if (l2Offset === 0) return;
    const refcount = stored.get(Math.floor(l2Offset / geometry.clusterBytes));
    if (refcount === undefined || (refcount === 1) === isCopied(high)) return;
    report.corruption(
      `the L1 table: entry ${index} ${isCopied(high) ? 'has' : 'lacks'} the flag COPIED, and the ` +
        `refcount is ${refcount}`,
    );
    this.#needs.copiedMismatches++;
  }

  #walkSnapshots(): void {
    const { header, geometry, report, snapshotTable } = this.#image;
    const { snapshots } = snapshotTable;
    if (header.externalDataFile && snapshots.length > 0) {
      report.corruption(`${snapshots.length} snapshots in an image with an external data file`);
    }
    const isPossible = (snapshot: Snapshot) =>
      snapshotL1Problem(snapshot, geometry.clusterBytes) === undefined;
    this.#spend(snapshots.filter(isPossible).map(({ l1Entries }) => l1Entries));
    for (const snapshot of snapshots) {
      const what = `snapshot ${JSON.stringify(snapshot.id)} (${JSON.stringify(snapshot.name)})`;
      if (snapshot.isIncomplete) {
        report.corruption(`${what}: its table entry lacks the disk's size`);
        this.#needs.snapshotsIncomplete = true;
      }
      const problem = snapshotL1Problem(snapshot, geometry.clusterBytes);
      if (problem !== undefined) {
        report.corruption(`${what}: ${problem}`);
        continue;
      }
      this.#walkL1(snapshot.l1TableOffset, snapshot.l1Entries, false, `${what}: L1 table`);
    }
  }

  #walkL2Tables(): void {
    const { clusterBytes } = this.#image.geometry;
    const walk = new L2Walk(this.#image, this.#needs, (offset, length, times, what) =>
      this.#add(offset, length, times, what),
    );
    this.#activeTables.forEach((cluster, active) => {
      walk.table(cluster * clusterBytes, active, this.#inactiveTables.get(cluster));
    });
    this.#inactiveTables.forEach((cluster, inactive) => {
      if (this.#activeTables.get(cluster) === 0) walk.table(cluster * clusterBytes, 0, inactive);
    });
    for (const [offset, use] of this.#unalignedTables) walk.table(offset, use.active, use.inactive);
  }

  #walkBitmaps(): void {
    const { file, header, geometry, report } = this.#image;
    if (header.bitmaps === undefined) return;
    const { directoryBytes, directoryOffset } = header.bitmaps;
    this.#add(directoryOffset, directoryBytes, 1, 'the bitmap directory');
    const image = { clusterBytes: geometry.clusterBytes, sizeBytes: header.sizeBytes };
    const bitmaps = readBitmapDirectory(file, header.bitmaps, image);
    if (typeof bitmaps === 'string') {
      report.corruption(`the bitmap directory: ${bitmaps}`);
      this.#needs.bitmapsBroken = true;
      return;
    }
    this.#spend(bitmaps.map(({ table }) => table.entries));
    for (const [index, { table }] of bitmaps.entries()) {
      this.#add(table.offset, table.entries * 8, 1, `bitmap ${index}: its table`);
      const offsets = readBitmapTable(file, table, geometry.clusterBytes);
      if (typeof offsets === 'string') {
        report.corruption(`the table of bitmap ${index}: ${offsets}`);
        this.#needs.bitmapsBroken = true;
        continue;
      }
      for (const offset of offsets) {
        this.#add(offset, geometry.clusterBytes, 1, `bitmap ${index}: a cluster`);
      }
    }
  }

  /** Last, since a block must not share its cluster with anything. */
  #walkRefcountBlocks(): void {
    const { geometry, report, stored } = this.#image;
    for (let index = 0; index < stored.tableEntries; index++) {
      const { offset, hasReservedBits } = stored.place(index);
      if (hasReservedBits) {
        report.corruption(`the refcount table: entry ${index} has reserved bits set`);
        this.#needs.refcountsBroken = true;
        continue;
      }
      if (offset === 0) continue;
      const cluster = offset / geometry.clusterBytes;
      if (!Number.isInteger(cluster)) {
        report.corruption(
          `the refcount table: entry ${index} points to ${offset}, which is not aligned to a cluster`,
        );
        this.#needs.refcountsBroken = true;
        continue;
      }
      if (cluster >= this.#clusters) {
        report.corruption(
          `the refcount table: entry ${index} points to ${offset}, past the file's end`,
        );
        this.#needs.refcountsBroken = true;
        continue;
      }
      this.#add(offset, geometry.clusterBytes, 1, `refcount block ${index}`);
      if (this.#counts.get(cluster) === 1) continue;
      this.#needs.refcountsBroken = true;
      // A refcount of one bit cannot show that: QEMU does not see it either, besides the overflow.
      if (stored.max === 1) continue;
      report.corruption(`refcount block ${index} at ${offset} overlaps something else`);
    }
  }

  /** To be called with the length of a table before its entries are followed. */
  #spend(tables: readonly number[]): void {
    for (const entries of tables) this.#entries += entries;
    if (this.#entries <= ENTRIES_MAX) return;
    throw new TsvmError(
      'invalid-disk',
      `${this.#image.file.path} cannot be checked: its snapshots and bitmaps claim more than ` +
        `${ENTRIES_MAX} table entries`,
    );
  }
}
