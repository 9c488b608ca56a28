import type { ImageFile } from '../file/image-file.ts';
import { SECTOR_BYTES } from '../file/sector.ts';
import { type ChainRun, visitChain } from '../image/chain-run.ts';
import type { Disk, Extent } from './disk.ts';
import type { MachineImage } from './machine-image.ts';

/**
 * Clusters in a span, and the most extents that are collected at once. When no two adjoin, finding
 * and pushing them takes about 2 ms, in which all other requests wait.
 */
const SPAN_CLUSTERS = 1024;
/**
 * Up to this many spans are mapped in a row while they consist of few runs: that takes less time
 * than another script request. An L2 table with clusters of 64 KiB has 8 spans.
 */
const SPANS_IN_A_ROW = 8;
const FEW_RUNS = 64;
/**
 * A file grows in steps of an eighth of its size, within these bounds: growing waits for the writes
 * in flight.
 */
const GROWTH_BYTES_MIN = 2 ** 20;
const GROWTH_BYTES_MAX = 2 ** 28;
/** The claimed extent, and the zero extent around it split in two. */
const EXTENTS_PER_CLAIM = 2;
/** Extents in the data plane, where each takes some 100 bytes. */
const EXTENTS_MAX = 65_536;

/** A part of a disk, in bytes. */
export interface DiskRange {
  readonly offset: number;
  readonly end: number;
}

/** Finds the extents of a chain of images and pushes them, many at a time. */
export class ExtentPusher {
  readonly #image: MachineImage;
  readonly #disk: Disk;
  readonly #spans: MappedSpans;
  /** Sizes of the chain's files, in bytes, when last asked. They only grow. */
  readonly #fileBytes = new Map<ImageFile, number>();
  #found = new ExtentList();

  /** @param extentsMax bound of the data plane's extents; the newest span may exceed it */
  constructor(image: MachineImage, disk: Disk, extentsMax = EXTENTS_MAX) {
    this.#image = image;
    this.#disk = disk;
    this.#spans = new MappedSpans(SPAN_CLUSTERS * image.clusterBytes, extentsMax);
  }

  /**
   * Finds the extents of a range, or of its first part if there are too many.
   * @returns false when a part of it has no extent
   * @throws TsvmError `invalid-disk`, `disk-io`
   */
  find(range: DiskRange): boolean {
    return this.#findRuns(range).served;
  }

  /**
   * Finds the extents of the whole span that contains a byte, unless that was done before, and of the
   * following spans where that is quick.
   */
  findSpan(offset: number): void {
    const { sizeBytes } = this.#image;
    const { spanBytes } = this.#spans;
    const first = this.#spans.start(offset);
    const end = Math.min(first + SPANS_IN_A_ROW * spanBytes, sizeBytes);
    let runs = 0;
    for (let at = first; at < end && runs <= FEW_RUNS && !this.#spans.has(at); at += spanBytes) {
      try {
        runs += this.#findRuns({ offset: at, end: Math.min(at + spanBytes, sizeBytes) }).runs;
      } catch {
        // A broken or unreadable entry fails the request that needs it, not this one.
        this.#spans.add(at, 0);
        return;
      }
    }
  }

  /** Finds the extents of a range again after some were withdrawn, if its span was mapped. */
  findAgain(range: DiskRange): void {
    if (this.#spans.has(range.offset)) this.find(range);
  }

  /** Maps all spans anew when needed: what was read-only may have become writable. */
  clearSpans(): void {
    this.#spans.clear();
  }

  /** Pushes what was found, and withdraws old spans when there are too many extents. */
  push(): void {
    const { extents } = this.#found;
    if (extents.length === 0) return;
    this.#found = new ExtentList();
    this.#disk.pushExtents(extents);
    this.#withdrawExcess();
  }

  #withdrawExcess(): void {
    for (let start = this.#spans.takeExcess(); start !== undefined; ) {
      // These extents stay correct: nothing has to wait until they are out of use.
      void this.#disk.withdrawExtents(start, this.#spans.spanBytes);
      start = this.#spans.takeExcess();
    }
  }

  /** Zeroes without a place in the file, for which a write may claim clusters from the stock. */
  isClaimable({ kind, layer, file }: ChainRun): boolean {
    return (
      kind === 'zero' && this.#image.canReserve && (layer !== this.#image || file === undefined)
    );
  }

  /** The data plane has claimed a part of the zero extent that contains `offset`. */
  noteClaim(offset: number): void {
    if (!this.#spans.has(offset)) return;
    this.#spans.add(offset, EXTENTS_PER_CLAIM);
    this.#withdrawExcess();
  }

  /** @returns how many runs were visited, and whether all of them have extents */
  #findRuns({ offset, end }: DiskRange): { runs: number; served: boolean } {
    if (this.#found.extents.length >= SPAN_CLUSTERS) this.push();
    const before = this.#found.extents.length;
    let runs = 0;
    let served = true;
    visitChain(this.#image, offset, end, (run) => {
      runs++;
      served = this.#findRun(run) && served;
      return this.#found.extents.length - before < SPAN_CLUSTERS;
    });
    this.#spans.add(offset, this.#found.extents.length - before);
    return { runs, served };
  }

  /** @returns whether the whole run has an extent */
  #findRun(run: ChainRun): boolean {
    const { kind, offset, length, file, fileOffset } = run;
    if (kind === 'zero') {
      const readOnly = !this.isClaimable(run);
      return this.#found.add({ offset, length, fd: -1, fdOffset: 0, zero: true, readOnly });
    }
    if (kind === 'compressed' || file === undefined) return false;
    const writable = run.writable && run.layer === this.#image;
    // An extent past the end of its file would be an I/O error.
    const there = this.reach(file, fileOffset + length, writable) - fileOffset;
    if (there <= 0) return false;
    const whole = this.#found.add({
      offset,
      length: Math.min(length, there),
      fd: file.fd,
      fdOffset: fileOffset,
      zero: false,
      readOnly: !writable,
    });
    return whole && there >= length;
  }

  /**
   * Lets a `writable` file grow to at least `end` bytes: its last cluster is new.
   * @returns the file's size if it is less than `end`, else a lower bound of it
   */
  reach(file: ImageFile, end: number, writable: boolean): number {
    const known = this.#fileBytes.get(file) ?? 0;
    if (known >= end) return known;
    let bytes = file.sizeBytes();
    if (bytes < end && writable && !file.isBlockDevice) {
      // Nothing else extends the file: the data plane writes only inside its extents.
      const step = Math.min(Math.max(end / 8, GROWTH_BYTES_MIN), GROWTH_BYTES_MAX);
      bytes = Math.ceil((end + step) / GROWTH_BYTES_MIN) * GROWTH_BYTES_MIN;
      file.truncateSync(bytes);
    }
    this.#fileBytes.set(file, bytes);
    return bytes;
  }
}

/**
 * Extents to push, as few as possible: an extent that continues the last one, on the disk and in its
 * file, is joined with it.
 */
class ExtentList {
  readonly #extents: { -readonly [Key in keyof Extent]: Extent[Key] }[] = [];

  get extents(): readonly Extent[] {
    return this.#extents;
  }

  /**
   * Adds the whole sectors of an extent; partial sectors at its ends have none.
   * @returns whether all of it was added
   */
  add(extent: Extent): boolean {
    const offset = Math.ceil(extent.offset / SECTOR_BYTES) * SECTOR_BYTES;
    const end = extent.offset + extent.length;
    const length = Math.floor(end / SECTOR_BYTES) * SECTOR_BYTES - offset;
    const { fd, zero, readOnly } = extent;
    const fdOffset = extent.fdOffset + offset - extent.offset;
    if (length > 0) {
      const last = this.#extents.at(-1);
      const continues =
        last !== undefined &&
        last.offset + last.length === offset &&
        last.zero === zero &&
        last.readOnly === readOnly &&
        (zero || (last.fd === fd && last.fdOffset + last.length === fdOffset));
      if (continues) last.length += length;
      else this.#extents.push({ offset, length, fd, fdOffset, zero, readOnly });
    }
    return length === extent.length;
  }
}

/**
 * Which spans of a disk, all of one size, have been mapped to extents, and how many extents that
 * took. It bounds the data plane's memory however large the disk is. Extents that have been joined or
 * replaced still count: the figure is never too low.
 */
class MappedSpans {
  readonly spanBytes: number;
  readonly #extentsMax: number;
  /** Number of extents by the span's offset, least recently mapped first. */
  readonly #extents = new Map<number, number>();
  #total = 0;

  constructor(spanBytes: number, extentsMax: number) {
    this.spanBytes = spanBytes;
    this.#extentsMax = extentsMax;
  }

  /** Offset of the span that contains a byte. */
  start(offset: number): number {
    return offset - (offset % this.spanBytes);
  }

  has(offset: number): boolean {
    return this.#extents.has(this.start(offset));
  }

  /** Counts extents pushed for the span that contains `offset`. */
  add(offset: number, extents: number): void {
    const start = this.start(offset);
    const count = this.#extents.get(start) ?? 0;
    this.#extents.delete(start);
    this.#extents.set(start, count + extents);
    this.#total += extents;
  }

  clear(): void {
    this.#extents.clear();
    this.#total = 0;
  }

  /** Drops a span, to be withdrawn, while there are too many extents; returns its offset. */
  takeExcess(): number | undefined {
    // The newest one is in use now.
    if (this.#total <= this.#extentsMax || this.#extents.size < 2) return undefined;
    for (const [start, count] of this.#extents) {
      this.#extents.delete(start);
      this.#total -= count;
      return start;
    }
    return undefined;
  }
}
