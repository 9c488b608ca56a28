import { TsvmError } from '../../../../errors.ts';
import type { ImageFile } from '../../file/image-file.ts';
import { type Geometry, geometryOf } from './header/geometry.ts';
import type { Header } from './header/header-fields.ts';
import { LiveHeader } from './header/live-header.ts';
import { L1_ENTRY_BYTES, L1Table } from './map/l1-table.ts';
import { L2Tables } from './map/l2-tables.ts';
import type { MetadataHost } from './metadata-host.ts';
import { Allocator } from './space/allocator.ts';
import { CompressedSpace } from './space/compressed-space.ts';
import { MetadataClusters } from './space/metadata-clusters.ts';
import { Refcounts } from './space/refcounts.ts';
import { MetadataTable, type TableWrite } from './tables/metadata-table.ts';

export interface MetadataOptions {
  /** The file with guest clusters: the image's own, unless it has an external data file. */
  readonly dataFile: ImageFile;
  readonly readOnly: boolean;
  /** Memory for L2 tables, in bytes, and for refcount blocks. */
  readonly l2CacheBytes: number;
  readonly refcountCacheBytes: number;
}

/** A flush in progress, with copies of tables that are not in the file yet. */
export interface FlushCopies {
  /** Writes refcounts and tables that nothing in the file refers to: safe at any time. */
  writeEarly(): void;
}

/** All metadata of an open image. */
export class ImageMetadata implements MetadataHost {
  readonly file: ImageFile;
  readonly dataFile: ImageFile;
  readonly readOnly: boolean;
  readonly header: LiveHeader;
  readonly geometry: Geometry;
  readonly refcounts: Refcounts;
  readonly allocator: Allocator;
  readonly l2: L2Tables;
  readonly compressedSpace: CompressedSpace;
  readonly #openedDirty: boolean;
  /** Called when host clusters have become free. */
  onFreed: (() => void) | undefined;
  flushCopies: FlushCopies | undefined;
  #l1: L1Table;
  #clusters: MetadataClusters | undefined;
  #hasChanged = false;
  #refcountsWanted = false;
  /** A cluster that two tables occupy. */
  #contested: number | undefined;
  #refusal: TsvmError | undefined;

  constructor(file: ImageFile, header: Header, options: MetadataOptions) {
    this.file = file;
    this.dataFile = options.dataFile;
    this.readOnly = options.readOnly;
    this.header = new LiveHeader(file, header);
    this.geometry = geometryOf(header);
    this.#l1 = readL1(file, header);
    const table = readRefcountTable(file, header, this.geometry);
    this.refcounts = new Refcounts(file, this.geometry, table, options.refcountCacheBytes);
    this.allocator = new Allocator(this);
    this.l2 = new L2Tables(this, this.allocator, options.l2CacheBytes);
    this.compressedSpace = new CompressedSpace(this.allocator, this.geometry, this.refcounts);
    this.allocator.onFreed = (cluster) => {
      this.compressedSpace.noteFreed(cluster);
      this.onFreed?.();
    };
    this.#openedDirty = header.dirty;
  }

  /** The image was not closed cleanly, and its refcounts may be wrong. */
  get needsRepair(): boolean {
    return this.#openedDirty && !this.readOnly;
  }

  get l1(): L1Table {
    return this.#l1;
  }

  /**
   * "Lazy refcounts": they are written when the image is closed, or when the cache is full; the
   * dirty bit records that.
   */
  get leavesRefcounts(): boolean {
    const { lazyRefcounts, version } = this.header.current;
    return (
      lazyRefcounts && version >= 3 && !this.#refcountsWanted && !this.refcounts.blocks.isCrowded
    );
  }

  /** Runs `work`, during which flushes write refcounts, lazy or not. */
  withRefcounts(work: () => void): void {
    this.#refcountsWanted = true;
    try {
      work();
    } finally {
      this.#refcountsWanted = false;
    }
  }

  /** So much is dirty or pending that the image should flush before the next change. */
  get isCrowded(): boolean {
    return this.l2.cache.isCrowded || this.refcounts.blocks.isCrowded || this.allocator.isCrowded;
  }

  /** References have changed, and the file does not have the changes yet. */
  get isDirty(): boolean {
    return this.l2.cache.hasDirty || this.#l1.isDirty || !this.allocator.pending.isEmpty;
  }

  /**
   * To be called before content or metadata changes.
   * @throws TsvmError when nothing may be written
   */
  beginWrite(): void {
    this.assertIntact();
    if (this.readOnly) {
      throw new TsvmError('wrong-state', `${this.file.path} was opened read-only`);
    }
    if (this.needsRepair) {
      throw new TsvmError(
        'invalid-disk',
        `${this.file.path} was not closed cleanly: repair it with ` +
          `"tsvm image check --repair ${this.file.path}"`,
      );
    }
    this.metadataClusters();
    if (this.#contested !== undefined) {
      this.corrupt(`two of its metadata tables lie in host cluster ${this.#contested}`);
    }
    this.header.clearAutoclear();
    this.#hasChanged = true;
  }

  /**
   * A change has begun since the image was opened. Writes in place do not count: the guest makes
   * them durable, as on a raw disk.
   */
  get hasChanged(): boolean {
    return this.#hasChanged;
  }

  /** @throws TsvmError when metadata in memory must not be written any more */
  assertIntact(): void {
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  get isRefused(): boolean {
    return this.#refusal !== undefined;
  }

  /** True when a range of the image's file touches metadata in use. */
  overlapsMetadata(fileOffset: number, length: number): boolean {
    const { clusterBytes } = this.geometry;
    const first = Math.floor(fileOffset / clusterBytes);
    const last = Math.floor((fileOffset + length - 1) / clusterBytes);
    return this.metadataClusters().firstIn(first, last - first + 1) !== undefined;
  }

  /** Switches to another L1 table. Nothing may be dirty. */
  replaceL1(l1: L1Table): void {
    this.#l1 = l1;
    this.l2.cache.clear();
    this.#clusters = undefined;
  }

  setRefcountTable(offset: number, clusters: number): void {
    this.header.update({ refcountTableOffset: offset, refcountTableClusters: clusters });
  }

  changeStructure(change: () => void): void {
    try {
      change();
    } catch (cause) {
      this.#refusal ??= new TsvmError(
        'disk-io',
        `${this.file.path} takes no more writes, since writing its metadata failed: ` +
          'close it and open it again',
        { cause },
      );
      throw cause;
    }
  }

  /** Writes all dirty refcounts, unordered with other writes. */
  writeRefcountBlocks(): void {
    // Its copies are older and must not be written after these.
    this.flushCopies?.writeEarly();
    const writes: TableWrite[] = [];
    for (const block of this.refcounts.blocks.dirtyTables()) block.takeWrites(writes);
    for (const { table, at, bytes } of writes) this.file.writeSync(table.fileOffset + at, bytes);
  }

  /**
   * Sets the "corrupt bit", so that nothing writes to the image until it is repaired, and throws.
   */
  corrupt(what: string): never {
    const error = new TsvmError(
      'invalid-disk',
      `${this.file.path} is corrupt: ${what}; repair it with ` +
        `"tsvm image check --repair ${this.file.path}"`,
    );
    this.#refusal ??= error;
    if (!this.readOnly && this.geometry.version >= 3) this.header.setCorrupt();
    throw error;
  }

  /** The host clusters of metadata in use; collected at the first call, updated from then on. */
  metadataClusters(): MetadataClusters {
    this.#clusters ??= this.#findMetadataClusters();
    return this.#clusters;
  }

  #findMetadataClusters(): MetadataClusters {
    const { clusterBytes } = this.geometry;
    const header = this.header.current;
    const found: number[] = [0];
    const addTable = (table: MetadataTable) => {
      const first = Math.floor(table.fileOffset / clusterBytes);
      const count = Math.ceil(table.bytes.byteLength / clusterBytes);
      for (let cluster = first; cluster < first + count; cluster++) found.push(cluster);
    };
    addTable(this.#l1);
    addTable(this.refcounts.table);
    if (header.snapshotCount > 0) found.push(Math.floor(header.snapshotsOffset / clusterBytes));
    for (let index = 0; index < this.#l1.entries; index++) {
      const offset = this.#l1.l2Offset(index);
      if (offset !== 0) found.push(Math.floor(offset / clusterBytes));
    }
    for (let index = 0; index < this.refcounts.tableEntries; index++) {
      const offset = this.refcounts.blockOffset(index);
      if (offset !== 0) found.push(Math.floor(offset / clusterBytes));
    }
    const { metadata, twice } = MetadataClusters.of(Float64Array.from(found));
    this.#contested = twice;
    return metadata;
  }
}

/** The header has been validated, so the tables have acceptable sizes. */
function readL1(file: ImageFile, header: Header): L1Table {
  const bytes = new Uint8Array(header.l1Entries * L1_ENTRY_BYTES);
  file.readSync(header.l1Offset, bytes);
  return new L1Table(header.l1Offset, bytes);
}

function readRefcountTable(file: ImageFile, header: Header, geometry: Geometry): MetadataTable {
  const bytes = new Uint8Array(header.refcountTableClusters * geometry.clusterBytes);
  file.readSync(header.refcountTableOffset, bytes);
  return new MetadataTable(header.refcountTableOffset, bytes);
}
