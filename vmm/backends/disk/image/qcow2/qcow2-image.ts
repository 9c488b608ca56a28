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
import { InflatedBudget } from './map/inflated-clusters.ts';
import { mapRun } from './map/mapping.ts';
import { resizeImage } from './map/resize.ts';
import { Zeroing } from './map/zeroing.ts';
import { FlushDriver } from './tables/flush-driver.ts';
import { tableMemoryBytes } from './tables/table-cache.ts';

/** Enough for all L2 tables of a disk of 256 GiB with clusters of 64 KiB. */
const L2_CACHE_BYTES_MAX = 32 * 2 ** 20;
const REFCOUNT_CACHE_BYTES = 4 * 2 ** 20;

export interface Qcow2Options {
  readonly readOnly: boolean;
  /** The file's header, if it was parsed already. */
  readonly header?: Header | undefined;
  /** The image's backing image, open; the caller's to close. */
  readonly backing: DiskImage | undefined;
  /** The external data file, if the header requires one; closed with the image. */
  readonly dataFile?: ImageFile | undefined;
  /** Memory for L2 tables; by default enough for the whole disk, up to 32 MiB. */
  readonly cacheBytes?: number | undefined;
  /** Memory for inflated clusters, shared with the other images of the chain. */
  readonly inflated?: InflatedBudget | undefined;
}

/**
 * An open qcow2 image.
 *
 * Metadata is in memory and changes synchronously; it reaches the file in a flush, in an order in
 * which a crash costs unused space at most. A flush copies what it writes, so that nothing waits
 * for it. When too many tables are dirty, an operation flushes first.
 *
 * Changes by `…Sync` methods are not allowed during a `write`, since they might flush and could not
 * wait for its data; `close` is not allowed during any operation.
 */
export class Qcow2Image implements DiskImage {
  readonly format = 'qcow2';
  readonly file: ImageFile;
  readonly readOnly: boolean;
  readonly backing: DiskImage | undefined;
  readonly clusterBytes: number;
  /** Guest bytes that one L2 table maps. */
  readonly tableSpanBytes: number;
  /** The image's tables, for operations on the whole: snapshots, check. */
  readonly metadata: ImageMetadata;
  /** Called when a range of the disk begins to be changed, unless a machine's guest changes it. */
  onChange: ((offset: number, length: number) => void) | undefined;
  readonly #reader: ImageReader;
  readonly #writer: ClusterWriter;
  readonly #zeroing: Zeroing;
  readonly #flushes: FlushDriver;

  /**
   * Opens an image in open files, which are closed with it.
   * @throws TsvmError `invalid-disk` for an invalid header, or when an image marked as corrupt is
   * opened for writing; `invalid-config` when the external data file is missing, `disk-io` when it
   * is a block device smaller than the disk
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
    this.#reader = new ImageReader(
      this.metadata,
      options.backing,
      options.inflated ?? new InflatedBudget(),
    );
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

  /** Metadata has to be written before a flush is complete. */
  get metadataDirty(): boolean {
    return this.metadata.isDirty || this.#flushes.isRunning;
  }

  /** The next change flushes first, synchronously: call `flush` before. */
  get flushWanted(): boolean {
    return this.metadata.isCrowded;
  }

  /** The dirty bit was set: refcounts may be wrong, and nothing may be written before a repair. */
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
   * Allocates before it returns, unless it has to flush first. When the host fails, the content of
   * new clusters is undefined.
   */
  async write(offset: number, data: Uint8Array): Promise<void> {
    this.#checkRange(offset, data.length);
    this.metadata.beginWrite();
    if (this.metadata.isCrowded) {
      await this.flush();
      this.metadata.beginWrite();
    }
    this.onChange?.(offset, data.length);
    this.#writer.write(offset, data.length, 'overwritten');
    await this.#flushes.track(allDone(this.#mappedWrites(offset, data)));
  }

  /**
   * Makes every cluster that the range touches writable in place. The content stays: it is copied
   * from the old place or the backing image.
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
   * @param plain the cluster, or the part of the last cluster that is inside the image
   * @param deflated the compressed cluster; the last one padded with zeroes before
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

  /**
   * Affects whole clusters only; in version 2 it does nothing when there is a backing image, as in
   * QEMU.
   */
  discardSync(offset: number, length: number): void {
    this.#beginChange(offset, length);
    this.#zeroing.discard(offset, length);
  }

  /** Makes everything unallocated, so that the backing image shows: for a commit. */
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

  /** Waits for writes in flight, too. */
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

  /** Writes lazy refcounts, too. */
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

  /** Precedes every synchronous change. */
  #beginChange(offset: number, length: number): void {
    this.#checkRange(offset, length);
    this.metadata.beginWrite();
    this.onChange?.(offset, length);
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

/**
 * Room for all tables of the disk twice, since half of the cache may be dirty, up to the maximum.
 */
function defaultCacheBytes(header: Header): number {
  const { clusterBytes, tableSpanBytes } = geometryOf(header);
  const tables = Math.ceil(header.sizeBytes / tableSpanBytes);
  return Math.min(L2_CACHE_BYTES_MAX, 2 * tables * tableMemoryBytes(clusterBytes));
}
