import { TsvmError } from '../../../../errors.ts';
import { assertDeviceHolds } from '../../file/device-size.ts';
import type { FileRange, ImageFile } from '../../file/image-file.ts';
import type { DiskImage, ImageRun } from '../image.ts';
import { geometryOf } from './header/geometry.ts';
import { parseHeader } from './header/header.ts';
import type { Header } from './header/header-fields.ts';
import { ImageMetadata } from './image-metadata.ts';
import { ClusterWriter } from './map/cluster-writer.ts';
import { allDone, ImageReader } from './map/image-reader.ts';
import { mapRun } from './map/mapping.ts';
import { resizeImage } from './map/resize.ts';
import { Zeroing } from './map/zeroing.ts';
import { FlushDriver } from './tables/flush-driver.ts';
import { tableMemoryBytes } from './tables/table-cache.ts';

/** The tables of a disk of 256 GiB with clusters of 64 KiB. */
const L2_CACHE_BYTES_MAX = 32 * 2 ** 20;
const REFCOUNT_CACHE_BYTES = 4 * 2 ** 20;

export interface Qcow2Options {
  readonly readOnly: boolean;
  /** What `parseHeader` said of the file, where that was asked already. */
  readonly header?: Header | undefined;
  /** The image's backing image, open; the caller's to close. */
  readonly backing: DiskImage | undefined;
  /** The external data file, if the header says that there is one; this image's from now on. */
  readonly dataFile?: ImageFile | undefined;
  /** Memory for L2 tables; enough for the whole disk up to 32 MiB when not given. */
  readonly cacheBytes?: number | undefined;
}

/**
 * An open qcow2 image.
 *
 * Metadata is in memory and changes synchronously; it reaches the file in a flush, in an order that
 * leaves at most unused space behind after a crash. A flush takes a copy of what it writes, so that
 * nothing has to wait for one. When the tables in memory become too many, an operation flushes
 * first.
 *
 * What ends in `Sync` and changes the image must not be called while a `write` is under way, since
 * it might have to flush and could not wait for the data; `close` not while anything is.
 */
export class Qcow2Image implements DiskImage {
  readonly format = 'qcow2';
  readonly file: ImageFile;
  readonly readOnly: boolean;
  readonly backing: DiskImage | undefined;
  readonly clusterBytes: number;
  /** Guest bytes that one L2 table maps. */
  readonly tableSpanBytes: number;
  /** The image's tables, for what works on them as a whole: snapshots, check. */
  readonly metadata: ImageMetadata;
  readonly #reader: ImageReader;
  readonly #writer: ClusterWriter;
  readonly #zeroing: Zeroing;
  readonly #flushes: FlushDriver;

  /**
   * Opens an image whose files are open, and which owns them from then on.
   * @throws TsvmError `invalid-disk` when the header lies, or when it says that the image is corrupt
   * and it is to be written; `invalid-config` when the external data file is missing, `disk-io` when
   * that is a block device smaller than the disk
   */
  static open(file: ImageFile, options: Qcow2Options): Qcow2Image {
    const header = options.header ?? parseHeader(file);
    if (header.corrupt && !options.readOnly) {
      throw new TsvmError(
        'invalid-disk',
        `${file.path} is marked as corrupt: open it read-only, or repair it with ` +
          `"tsvm image check --repair ${file.path}"`,
      );
    }
    if (header.externalDataFile && options.dataFile === undefined) {
      throw new TsvmError('invalid-config', `${file.path} needs its external data file`);
    }
    if (options.dataFile !== undefined) assertDeviceHolds(options.dataFile, header.sizeBytes);
    return new Qcow2Image(file, header, options);
  }

  private constructor(file: ImageFile, header: Header, options: Qcow2Options) {
    this.file = file;
    this.readOnly = options.readOnly;
    this.backing = options.backing;
    const { clusterBytes, tableSpanBytes } = geometryOf(header);
    this.clusterBytes = clusterBytes;
    this.tableSpanBytes = tableSpanBytes;
    this.metadata = new ImageMetadata(file, header, {
      dataFile: (header.externalDataFile ? options.dataFile : undefined) ?? file,
      readOnly: options.readOnly,
      l2CacheBytes: options.cacheBytes ?? defaultCacheBytes(header),
      refcountCacheBytes: REFCOUNT_CACHE_BYTES,
    });
    this.#reader = new ImageReader(this.metadata, options.backing);
    this.#writer = new ClusterWriter(this.metadata, this.#reader);
    const hasBacking = options.backing !== undefined;
    this.#flushes = new FlushDriver(this.metadata);
    this.#zeroing = new Zeroing(
      this.metadata,
      this.#reader,
      this.#writer,
      this.#flushes,
      hasBacking,
    );
    this.metadata.onFreed = () => this.#reader.clearInflated();
  }

  get header(): Header {
    return this.metadata.header.current;
  }

  get sizeBytes(): number {
    return this.header.sizeBytes;
  }

  /** Something has to be written before a flush is true. */
  get metadataDirty(): boolean {
    return this.metadata.isDirty || this.#flushes.isRunning;
  }

  /** Operations that change the image flush first, synchronously: a good time for `flush`. */
  get flushWanted(): boolean {
    return this.metadata.isCrowded;
  }

  /** The refcounts may be wrong, as the dirty bit says: nothing may be written before a repair. */
  get needsRepair(): boolean {
    return this.metadata.needsRepair;
  }

  get cacheBytesUsed(): number {
    return this.metadata.l2.cache.bytesUsed + this.metadata.refcounts.blocks.bytesUsed;
  }

  mapSync(offset: number, length: number): ImageRun {
    this.#checkRange(offset, length);
    return mapRun(this.metadata, offset, Math.max(length, 1));
  }

  readSync(offset: number, target: Uint8Array): void {
    this.#checkRange(offset, target.length);
    this.#reader.readSync(offset, target);
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.#checkRange(offset, target.length);
    await this.#reader.read(offset, target);
  }

  writeSync(offset: number, data: Uint8Array): void {
    this.#beginChange(offset, data.length);
    this.#writer.write(offset, data.length, data);
  }

  /**
   * Maps at once, before it returns, unless it has to flush first. When the host's file fails, the
   * content of clusters that were new is undefined.
   */
  async write(offset: number, data: Uint8Array): Promise<void> {
    this.#checkRange(offset, data.length);
    this.metadata.beginWrite();
    if (this.metadata.isCrowded) {
      await this.flush();
      this.metadata.beginWrite();
    }
    this.#writer.write(offset, data.length, 'overwritten');
    await this.#flushes.track(allDone(this.#mappedWrites(offset, data)));
  }

  /**
   * Makes every cluster that the range touches writable in place. Nothing that can be read changes:
   * the content comes from the old place, or from the backing image.
   */
  prepareWriteSync(offset: number, length: number): void {
    this.#beginChange(offset, length);
    this.#writer.write(offset, length, 'kept');
  }

  /** With an external data file every cluster has its place already. */
  get canReserve(): boolean {
    return !this.readOnly && !this.header.externalDataFile && !this.file.isBlockDevice;
  }

  /** See `MachineImage`. The clusters are free in the file until they are claimed. */
  reserveSync(clusters: number): FileRange {
    this.#beginChange(0, 0);
    const { allocator } = this.metadata;
    const run = allocator.reserve(clusters);
    const offset = run.first * this.clusterBytes;
    const length = run.count * this.clusterBytes;
    try {
      if (!run.fresh) this.file.writeZeroesSync(offset, length, false);
    } catch (error) {
      allocator.releaseReserved(run.first, run.count);
      throw error;
    }
    return { file: this.file, offset, length };
  }

  releaseSync({ offset, length }: FileRange): void {
    const { allocator } = this.metadata;
    allocator.releaseReserved(offset / this.clusterBytes, length / this.clusterBytes);
  }

  /** Does not flush: the tables in memory may exceed their limit until the next change. */
  applyClaimSync(offset: number, length: number, fileOffset: number): void {
    this.#checkRange(offset, length);
    this.metadata.beginWrite();
    this.#writer.applyClaim(offset, length, fileOffset);
  }

  /**
   * Writes one whole cluster, compressed if that makes it smaller.
   * @param offset a multiple of the cluster size
   * @param plain the cluster, or what the image has of its last one
   * @param deflated of a whole cluster, the last one's padded with zeroes
   */
  writeCompressed(offset: number, plain: Uint8Array, deflated: Uint8Array | undefined): void {
    this.#beginChange(offset, plain.length);
    const whole = plain.length === this.clusterBytes || offset + plain.length === this.sizeBytes;
    if (offset % this.clusterBytes !== 0 || plain.length > this.clusterBytes || !whole) {
      throw new TsvmError('invalid-config', 'a compressed write is one whole cluster');
    }
    const possible = deflated !== undefined && deflated.length < this.clusterBytes;
    if (possible && !this.header.externalDataFile) {
      if (this.#writer.writeCompressed(offset, deflated)) return;
    }
    this.#writer.write(offset, plain.length, plain);
  }

  writeZeroesSync(offset: number, length: number, mayUnmap: boolean): void {
    this.#beginChange(offset, length);
    this.#zeroing.writeZeroes(offset, length, mayUnmap);
  }

  /** Whole clusters only; in version 2 nothing when there is a backing image, as in QEMU. */
  discardSync(offset: number, length: number): void {
    this.#beginChange(offset, length);
    this.#zeroing.discard(offset, length);
  }

  /** Makes all of it unallocated, so that the backing image shows: for a commit. */
  emptySync(): void {
    this.metadata.beginWrite();
    const { clusterBytes, sizeBytes } = this;
    this.#zeroing.deallocate(0, Math.ceil(sizeBytes / clusterBytes) * clusterBytes);
  }

  resizeSync(sizeBytes: number): void {
    this.metadata.beginWrite();
    const image = {
      metadata: this.metadata,
      reader: this.#reader,
      zeroing: this.#zeroing,
      flushes: this.#flushes,
      backingBytes: this.backing?.sizeBytes ?? 0,
    };
    resizeImage(image, sizeBytes);
  }

  flushSync(): void {
    if (this.readOnly) return;
    this.#flushes.sync();
  }

  /** Waits for the writes that were under way when it was called. */
  async flush(): Promise<void> {
    if (this.readOnly) return;
    await this.#flushes.async();
  }

  close(): void {
    try {
      if (this.metadata.hasChanged && !this.metadata.isRefused) this.#finish();
    } finally {
      this.file.close();
      if (this.metadata.dataFile !== this.file) this.metadata.dataFile.close();
    }
  }

  /** With lazy refcounts, now is the time for them. */
  #finish(): void {
    const { metadata } = this;
    metadata.withRefcounts(() => this.#flushes.sync());
    if (metadata.header.current.dirty && !metadata.needsRepair) {
      this.file.datasyncSync();
      metadata.header.setDirty(false);
    }
    this.#truncateUnused();
  }

  /** The file may have grown for writes that did not happen. */
  #truncateUnused(): void {
    const { endOffset } = this.metadata.allocator;
    if (this.file.isBlockDevice || this.file.sizeBytes() <= endOffset) return;
    this.file.truncateSync(endOffset);
  }

  *#mappedWrites(offset: number, data: Uint8Array): Generator<Promise<void>> {
    for (let done = 0; done < data.length; ) {
      const run = mapRun(this.metadata, offset + done, data.length - done);
      if (run.file === undefined) {
        throw new TsvmError('invalid-disk', `${this.file.path}: no place`);
      }
      yield run.file.write(run.fileOffset, data.subarray(done, done + run.length));
      done += run.length;
    }
  }

  /** What comes before every synchronous change. */
  #beginChange(offset: number, length: number): void {
    this.#checkRange(offset, length);
    this.metadata.beginWrite();
    if (this.metadata.isCrowded) this.flushSync();
  }

  #checkRange(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.sizeBytes) return;
    throw new TsvmError(
      'invalid-config',
      `bytes ${offset} to ${offset + length} are not in ${this.file.path}, which has ` +
        `${this.sizeBytes}`,
    );
  }
}

/** Room for all tables of the disk, as far as that is bearable, and for as many that are dirty. */
function defaultCacheBytes(header: Header): number {
  const { clusterBytes, tableSpanBytes } = geometryOf(header);
  const tables = Math.ceil(header.sizeBytes / tableSpanBytes);
  return Math.min(L2_CACHE_BYTES_MAX, 2 * tables * tableMemoryBytes(clusterBytes));
}
