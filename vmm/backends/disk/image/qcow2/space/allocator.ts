import { TsvmError } from '../../../../../errors.ts';
import { REFCOUNT_TABLE_BYTES_MAX } from '../header/layout.ts';
import type { MetadataHost } from '../metadata-host.ts';
import { MetadataTable } from '../tables/metadata-table.ts';
import { PendingFrees } from './pending-frees.ts';
import { ReservedClusters } from './reserved-clusters.ts';

/** Adjoining host clusters. */
export interface ClusterRun {
  /** Index of the first cluster. */
  readonly first: number;
  readonly count: number;
  /** The file reads as zeroes there, or ends before. */
  readonly fresh: boolean;
}

/** Bytes of a refcount table entry. */
const ENTRY_BYTES = 8;
/** More runs of pending frees than this are a reason to flush. */
const PENDING_RUNS_MAX = 65_536;

/** Allocates host clusters, and frees them when nothing in the file refers to them any more. */
export class Allocator {
  readonly pending = new PendingFrees();
  readonly #reserved = new ReservedClusters();
  readonly #host: MetadataHost;
  /** Every cluster before it is in use or reserved. */
  #cursor = 0;
  /** No cluster from here on was ever used; a later one may be past the file's end. */
  #freshFrom: number;
  /** The file's end when it was opened. */
  readonly #openedEnd: number;
  /** Called for each cluster that has become free. */
  onFreed: ((cluster: number) => void) | undefined;

  constructor(host: MetadataHost) {
    this.#host = host;
    const { clusterBytes } = host.geometry;
    // The file may end before its L1 table.
    const { fileOffset, bytes } = host.l1;
    const usedBytes = Math.max(host.file.sizeBytes(), fileOffset + bytes.byteLength);
    this.#openedEnd = Math.ceil(usedBytes / clusterBytes);
    this.#freshFrom = this.#openedEnd;
  }

  /** End of everything used, in bytes: at least the file's end when it was opened. */
  get endOffset(): number {
    return this.#freshFrom * this.#host.geometry.clusterBytes;
  }

  get isCrowded(): boolean {
    return this.pending.runCount > PENDING_RUNS_MAX;
  }

  /** Allocates at least one cluster, at most `wanted`, with refcount 1. */
  allocate(wanted: number): ClusterRun {
    const run = this.#findRun(wanted);
    if (run === undefined) return this.allocateContiguous(wanted);
    this.#setRefcounts(run, 1);
    return run;
  }

  /**
   * Reserves at least one cluster, at most `wanted`: their refcount is 0 until they are used, so
   * that a crash loses none.
   */
  reserve(wanted: number): ClusterRun {
    let run = this.#findRun(wanted);
    if (run === undefined) {
      run = this.allocateContiguous(wanted);
      this.#setRefcounts(run, 0);
    }
    this.#reserved.add(run.first, run.count);
    return run;
  }

  /** Reserved clusters get refcount 1. */
  useReserved(first: number, count: number): void {
    // What may fail comes first; it can be repeated.
    this.#setRefcounts({ first, count }, 1);
    this.#reserved.remove(first, count);
  }

  /** Unused reserved clusters become free again; they still read as zeroes. */
  releaseReserved(first: number, count: number): void {
    this.#reserved.remove(first, count);
    this.#cursor = Math.min(this.#cursor, first);
    if (first + count === this.#freshFrom && first >= this.#openedEnd) this.#freshFrom = first;
    else this.#punch([first, count]);
  }

  /** Allocates exactly `count` adjoining clusters with refcount 1, and refcount blocks as needed. */
  allocateContiguous(count: number): ClusterRun {
    const { refcounts } = this.#host;
    for (;;) {
      const { first, missing } = this.#findArea(count);
      const lastBlock = refcounts.blockOf(first + missing + count - 1);
      if (lastBlock >= refcounts.tableEntries) {
        this.#growRefcountTable(lastBlock + 1);
        continue;
      }
      return this.#takeArea(first, missing, count);
    }
  }

  /**
   * Finds room for `count` adjoining clusters, preceded by room for the refcount blocks that all of
   * them need and that do not exist.
   * @throws TsvmError `disk-io` when a block device has no such room; nothing has changed then
   */
  #findArea(count: number): { first: number; missing: number } {
    let first = this.#nextFree(this.#cursor);
    for (;;) {
      const missing = this.#missingBlocks(first, count);
      this.#assertInDevice(first + missing + count);
      const busy = this.#firstBusy(first, missing + count);
      if (busy === undefined) return { first, missing };
      first = this.#nextFree(busy + 1);
    }
  }

  /** Takes what `#findArea` found; the refcount table has room for the blocks. */
  #takeArea(first: number, missing: number, count: number): ClusterRun {
    const { refcounts } = this.#host;
    const fresh = this.#isFresh(first);
    const lastBlock = refcounts.blockOf(first + missing + count - 1);
    let blockCluster = first;
    for (let index = refcounts.blockOf(first); index <= lastBlock; index++) {
      if (!refcounts.hasBlock(index)) refcounts.createBlock(index, blockCluster++, fresh);
    }
    if (missing > 0) {
      this.#setRefcounts(this.#take(first, missing), 1);
      this.#host.metadataClusters().add(first, missing);
    }
    const run = this.#take(first + missing, count);
    this.#setRefcounts(run, 1);
    return { ...run, fresh };
  }

  /** Each cluster loses one reference, once that is durable. */
  free(first: number, count: number): void {
    this.pending.add(first, count);
  }

  /** Frees immediately what was allocated and never referred to. */
  giveBack(run: ClusterRun): void {
    for (let cluster = run.first; cluster < run.first + run.count; cluster++) {
      this.#host.refcounts.add(cluster, -1);
    }
    this.#cursor = Math.min(this.#cursor, run.first);
  }

  /**
   * Drops references that the file does not have any more.
   * @param runs as {@link PendingFrees} has them
   */
  release(runs: readonly number[]): void {
    const { refcounts } = this.#host;
    const metadata = this.#host.metadataClusters();
    const holes = new PendingFrees();
    for (let run = 0; run < runs.length; run += 2) {
      const first = runs[run] ?? 0;
      const end = first + (runs[run + 1] ?? 0);
      for (let cluster = first; cluster < end; cluster++) {
        const refcount = refcounts.get(cluster);
        // The refcount is wrong when it is 0, or when metadata in use would become free.
        if (refcount === 0 || (refcount === 1 && metadata.firstIn(cluster, 1) !== undefined)) {
          continue;
        }
        refcounts.set(cluster, refcount - 1);
        if (refcount > 1) continue;
        this.#cursor = Math.min(this.#cursor, cluster);
        this.onFreed?.(cluster);
        holes.add(cluster, 1);
      }
    }
    this.#punch(holes.take());
  }

  /** Everything from `cluster` on is free and was truncated. */
  cutAt(cluster: number): void {
    this.#freshFrom = cluster;
    this.#cursor = Math.min(this.#cursor, cluster);
  }

  /**
   * Moves the refcount table to where it has room for at least `entries` refcount blocks. Its order
   * makes it crash-safe: refcount blocks, the new table, the header that refers to it; the old
   * table's clusters become free with the next flush.
   */
  #growRefcountTable(entries: number): void {
    const { file, geometry, refcounts } = this.#host;
    const { clusterBytes } = geometry;
    const old = refcounts.table;
    const oldClusters = old.bytes.byteLength / clusterBytes;
    let clusters = Math.max(
      Math.ceil((entries * ENTRY_BYTES) / clusterBytes),
      Math.ceil(oldClusters * 1.5),
    );
    let area = this.#findArea(clusters);
    // The new table must also cover its own clusters.
    for (;;) {
      const lastBlock = refcounts.blockOf(area.first + area.missing + clusters - 1);
      const needed = Math.ceil(((lastBlock + 1) * ENTRY_BYTES) / clusterBytes);
      if (needed <= clusters) break;
      clusters = needed;
      area = this.#findArea(clusters);
    }
    const bytes = clusters * clusterBytes;
    if (bytes > REFCOUNT_TABLE_BYTES_MAX) {
      throw new TsvmError(
        'disk-io',
        `${file.path} cannot grow any more: its refcount table is at its limit; copy it with ` +
          '"tsvm image convert" to an image with larger clusters',
      );
    }
    // A failure in between would leave refcounts that the file's table does not refer to.
    this.#host.changeStructure(() => {
      const tableCluster = area.first + area.missing;
      const table = new MetadataTable(tableCluster * clusterBytes, new Uint8Array(bytes));
      table.bytes.set(old.bytes);
      refcounts.replaceTable(table);
      this.#takeArea(area.first, area.missing, clusters);
      this.#host.metadataClusters().add(tableCluster, clusters);
      this.#host.writeRefcountBlocks();
      file.datasyncSync();
      file.writeSync(table.fileOffset, table.bytes);
      table.takeWrites([]);
      file.datasyncSync();
      this.#host.setRefcountTable(table.fileOffset, clusters);
      this.#host.metadataClusters().remove(old.fileOffset / clusterBytes, oldClusters);
      this.free(old.fileOffset / clusterBytes, oldClusters);
    });
  }

  /** Punches holes for freed clusters. */
  #punch(runs: readonly number[]): void {
    const { file, geometry } = this.#host;
    const fileBytes = file.sizeBytes();
    for (let run = 0; run < runs.length; run += 2) {
      const offset = (runs[run] ?? 0) * geometry.clusterBytes;
      const length = (runs[run + 1] ?? 0) * geometry.clusterBytes;
      const inside = Math.min(length, fileBytes - offset);
      if (inside > 0) file.discardSync(offset, inside);
    }
  }

  /**
   * Takes the next run of at most `wanted` clusters whose refcount block exists; refcounts stay 0.
   */
  #findRun(wanted: number): ClusterRun | undefined {
    const { refcounts } = this.#host;
    const first = this.#nextFree(this.#cursor);
    this.#cursor = first;
    if (!refcounts.hasBlock(refcounts.blockOf(first))) return undefined;
    let count = this.#freeRun(first, wanted);
    // A run is either completely fresh or not at all.
    if (first < this.#freshFrom) count = Math.min(count, this.#freshFrom - first);
    this.#assertInDevice(first + count);
    const run = this.#take(first, count);
    this.#cursor = first + count;
    return run;
  }

  #setRefcounts({ first, count }: { first: number; count: number }, refcount: number): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      this.#host.refcounts.set(cluster, refcount);
    }
  }

  /** Takes free clusters after checking that they hold no metadata. */
  #take(first: number, count: number): ClusterRun {
    const fresh = this.#isFresh(first);
    const metadata = this.#host.metadataClusters().firstIn(first, count);
    if (metadata !== undefined) {
      this.#host.corrupt(`the refcount of cluster ${metadata}, which holds metadata, is 0`);
    }
    this.#freshFrom = Math.max(this.#freshFrom, first + count);
    return { first, count, fresh };
  }

  /** To be called before anything, even in memory, refers to the clusters before `end`. */
  #assertInDevice(end: number): void {
    const { file, geometry } = this.#host;
    if (!file.isBlockDevice || end * geometry.clusterBytes <= file.sizeBytes()) return;
    throw new TsvmError('disk-io', `${file.path} is full: the image needs a larger block device`);
  }

  /** On a block device nothing is known to be zero. */
  #isFresh(first: number): boolean {
    return first >= this.#freshFrom && !this.#host.file.isBlockDevice;
  }

  /**
   * Number of missing refcount blocks for `count` clusters, and for these blocks placed before
   * them.
   */
  #missingBlocks(first: number, count: number): number {
    const { refcounts } = this.#host;
    let missing = 0;
    for (let index = refcounts.blockOf(first); ; index++) {
      if (index > refcounts.blockOf(first + missing + count - 1)) return missing;
      if (!refcounts.hasBlock(index)) missing++;
    }
  }

  /** The first cluster from `from` on that may be allocated. */
  #nextFree(from: number): number {
    for (let cluster = from; ; ) {
      const free = this.#host.refcounts.nextFree(cluster);
      cluster = this.#reserved.nextOther(free);
      if (cluster === free) return free;
    }
  }

  /**
   * Number of clusters from `first` on that may be allocated, at most `wanted`, in one refcount
   * block.
   */
  #freeRun(first: number, wanted: number): number {
    return this.#reserved.othersFrom(first, this.#host.refcounts.freeRun(first, wanted));
  }

  #firstBusy(first: number, count: number): number | undefined {
    for (let cluster = first; cluster < first + count; ) {
      const free = this.#freeRun(cluster, first + count - cluster);
      if (free === 0) return cluster;
      cluster += free;
    }
    return undefined;
  }
}
