import type { ImageFile } from '../file/image-file.ts';
import { type ChainRun, visitChain } from '../image/chain-run.ts';
import type { DiskImage } from '../image/image.ts';
import type { Disk } from './disk.ts';
import { ExtentList } from './extent-list.ts';
import { MappedSpans } from './mapped-spans.ts';

/**
 * Clusters that are mapped at once, and the most extents that are looked for at once. Where no two
 * adjoin it takes some 2 ms to find and push so many, and all other requests wait for that.
 */
const SPAN_CLUSTERS = 1024;
/**
 * So many spans are looked at in a row while they are in few runs: that takes less time than to be
 * asked again. An L2 table with clusters of 64 KiB has 8.
 */
const SPANS_IN_A_ROW = 8;
const FEW_RUNS = 64;
/**
 * A file grows in steps of an eighth of it, within these bounds: to grow, it waits for the writes in
 * flight.
 */
const GROWTH_BYTES_MIN = 2 ** 20;
const GROWTH_BYTES_MAX = 2 ** 28;
/** The place itself, and zeroes on either side instead of around it. */
const EXTENTS_PER_CLAIM = 2;
/** Some 100 bytes each in the data plane. */
const EXTENTS_MAX = 65_536;

/** An image that may have spare clusters for what is zero. */
export interface PushedImage extends DiskImage {
  readonly reserves: boolean;
}

/** A part of a disk, in bytes. */
export interface DiskRange {
  readonly offset: number;
  readonly end: number;
}

/** Finds the extents of a chain of images, and pushes them, many at a time. */
export class ExtentPusher {
  readonly #image: PushedImage;
  readonly #disk: Disk;
  readonly #spans: MappedSpans;
  /** Sizes of the chain's files, in bytes, when last asked: they only grow. */
  readonly #fileBytes = new Map<ImageFile, number>();
  #found = new ExtentList();

  /** @param extentsMax how many extents the data plane may have, or a span's more */
  constructor(image: PushedImage, disk: Disk, extentsMax = EXTENTS_MAX) {
    this.#image = image;
    this.#disk = disk;
    this.#spans = new MappedSpans(SPAN_CLUSTERS * image.clusterBytes, extentsMax);
  }

  /**
   * Finds the extents of a range, or of its first part if they are too many.
   * @returns false when a part of it has none
   * @throws TsvmError `invalid-disk`, `disk-io`
   */
  find(range: DiskRange): boolean {
    return this.#findRuns(range).served;
  }

  /**
   * Finds those of the whole span that a byte is in, unless that was done before; and of the spans
   * behind it, if that is quick.
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
        // An entry that lies, or cannot be read, fails the request that needs it; not this one.
        this.#spans.add(at, 0);
        return;
      }
    }
  }

  /** Finds those of a range of which some were pushed, and withdrawn. */
  findAgain(range: DiskRange): void {
    if (this.#spans.has(range.offset)) this.find(range);
  }

  /** What was found to be read-only may be writable now. */
  forgetSpans(): void {
    this.#spans.clear();
  }

  /** Pushes what was found; withdraws other extents where there are too many then. */
  push(): void {
    const { extents } = this.#found;
    if (extents.length === 0) return;
    this.#found = new ExtentList();
    this.#disk.pushExtents(extents);
    this.#withdrawExcess();
  }

  #withdrawExcess(): void {
    for (let start = this.#spans.takeExcess(); start !== undefined; ) {
      // They go on to be true: nothing has to wait until they are out of use.
      void this.#disk.withdrawExtents(start, this.#spans.spanBytes);
      start = this.#spans.takeExcess();
    }
  }

  /** Zeroes that have no place: what is written to them may claim one of the image's spare ones. */
  isClaimable({ kind, layer, file }: ChainRun): boolean {
    return kind === 'zero' && this.#image.reserves && (layer !== this.#image || file === undefined);
  }

  /** A part of the zeroes that `offset` is in has got a place in the data plane. */
  noteClaim(offset: number): void {
    if (!this.#spans.has(offset)) return;
    this.#spans.add(offset, EXTENTS_PER_CLAIM);
    this.#withdrawExcess();
  }

  /** @returns how many runs were looked at, and whether all of them have extents */
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
    // The data plane takes the end of a file for a file that has lost its data.
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
   * The size of a file if it is less than `end`; else at least that. A file that is `writable` grows
   * when it ends before its last cluster does, since that is new.
   */
  reach(file: ImageFile, end: number, writable: boolean): number {
    const known = this.#fileBytes.get(file) ?? 0;
    if (known >= end) return known;
    let bytes = file.sizeBytes();
    if (bytes < end && writable && !file.isBlockDevice) {
      // Nothing else lets it grow meanwhile: the data plane writes where it has extents.
      const step = Math.min(Math.max(end / 8, GROWTH_BYTES_MIN), GROWTH_BYTES_MAX);
      bytes = Math.ceil((end + step) / GROWTH_BYTES_MIN) * GROWTH_BYTES_MIN;
      file.truncateSync(bytes);
    }
    this.#fileBytes.set(file, bytes);
    return bytes;
  }
}
