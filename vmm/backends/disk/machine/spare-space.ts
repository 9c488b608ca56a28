import type { ImageFile } from '../file/image-file.ts';
import type { Disk } from './disk.ts';

/** A part of a file: bytes. */
export interface FileRange {
  readonly file: ImageFile;
  readonly offset: number;
  readonly length: number;
}

/** What the first writes of a machine need of an image, so that they need not wait for it. */
export interface SpareImage {
  readonly clusterBytes: number;
  /** Has free clusters to give away; without, the rest is not used. */
  readonly reserves: boolean;
  /** Takes adjoining free clusters, at least one and at most so many, which read as zeroes. */
  reserveSync(clusters: number): FileRange;
  /** Gives back what was reserved and not claimed. */
  giveBackSync(range: FileRange): void;
  /** Clusters that read as zeroes have been written to, in reserved ones; harmless to say twice. */
  claimSync(offset: number, length: number, fileOffset: number): void;
}

/** The first time this many clusters; each time twice as many, up to so many or so many bytes. */
const CLUSTERS_MIN = 32;
const CLUSTERS_MAX = 1024;
const BYTES_MAX = 64 * 2 ** 20;

interface Claim {
  readonly offset: number;
  readonly length: number;
  readonly fileOffset: number;
}

/**
 * Free clusters of an image that the data plane has in stock: a first write to zeroes claims some,
 * and the image learns of it afterwards, at the latest before something else about it is decided.
 * Those in stock are free in the file: a crash loses none.
 */
export class SpareSpace {
  readonly #image: SpareImage;
  readonly #disk: Disk;
  readonly #reach: (file: ImageFile, end: number) => void;
  /** What the data plane has, in the order in which it uses it. */
  #stock: FileRange[] = [];
  #stockBytes = 0;
  #wantedBytes: number;
  /** The image does not know of them yet. */
  #claims: Claim[] = [];
  #used = false;

  /** @param reach lets a file grow to at least `end` bytes */
  constructor(image: SpareImage, disk: Disk, reach: (file: ImageFile, end: number) => void) {
    this.#image = image;
    this.#disk = disk;
    this.#reach = reach;
    this.#wantedBytes = Math.min(CLUSTERS_MIN * image.clusterBytes, BYTES_MAX);
  }

  /** There was something to claim. */
  get isUsed(): boolean {
    return this.#used;
  }

  /** Half of what was laid in is left, or less. */
  get isLow(): boolean {
    return this.#used && this.#stockBytes * 2 <= this.#wantedBytes;
  }

  /** From now on nothing is claimed, until {@link allow}. */
  hold(): void {
    if (this.#used) this.#disk.setClaiming(false);
  }

  allow(): void {
    if (this.#used) this.#disk.setClaiming(true);
  }

  /**
   * Tells the image what was claimed.
   * @returns where on the disk each claim is that was new
   * @throws what the image throws: then some are still to be told
   */
  settle(): number[] {
    if (!this.#used) return [];
    const numbers = this.#disk.takeClaims();
    const offsets: number[] = [];
    for (let at = 0; at < numbers.length; at += 3) {
      const [offset = 0, length = 0, fileOffset = 0] = numbers.slice(at, at + 3);
      this.#claims.push({ offset, length, fileOffset });
      this.#use(length);
      offsets.push(offset);
    }
    for (const { offset, length, fileOffset } of this.#claims) {
      this.#image.claimSync(offset, length, fileOffset);
    }
    this.#claims = [];
    return offsets;
  }

  /**
   * Lays in at least so many bytes, and as many more as may soon be wanted. The first time nothing
   * is claimed then until {@link allow}.
   * @throws what the image throws when it has less than `leastBytes` to give
   */
  provide(leastBytes: number): void {
    if (this.isLow) this.#wantedBytes = this.#nextWantedBytes();
    const { clusterBytes } = this.#image;
    const wanted = Math.max(leastBytes, this.#wantedBytes);
    while (this.#stockBytes < wanted) {
      const missing = Math.ceil((wanted - this.#stockBytes) / clusterBytes);
      try {
        this.#layIn(this.#image.reserveSync(missing));
      } catch (error) {
        if (this.#stockBytes < leastBytes) throw error;
        return;
      }
    }
  }

  /** Takes everything back, when the data plane is at rest. */
  takeBack(): void {
    this.settle();
    // The last first, so that the file can end before all of them.
    for (const range of this.#stock.splice(0).reverse()) this.#image.giveBackSync(range);
    this.#stockBytes = 0;
  }

  #nextWantedBytes(): number {
    const most = Math.min(CLUSTERS_MAX * this.#image.clusterBytes, BYTES_MAX);
    return Math.max(this.#wantedBytes, Math.min(2 * this.#wantedBytes, most));
  }

  #layIn(range: FileRange): void {
    try {
      this.#reach(range.file, range.offset + range.length);
      range.file.expectWritesSync(range.offset, range.length);
      if (!this.#used) this.#disk.setClaiming(false);
      this.#used = true;
      this.#disk.addSpare(range.file.fd, this.#image.clusterBytes, range.offset, range.length);
    } catch (error) {
      this.#image.giveBackSync(range);
      throw error;
    }
    this.#stock.push(range);
    this.#stockBytes += range.length;
  }

  /** The data plane has used so many bytes of what it got first. */
  #use(bytes: number): void {
    this.#stockBytes -= bytes;
    for (let left = bytes; left > 0; ) {
      const [first] = this.#stock;
      if (first === undefined) throw new Error('more was claimed than there was');
      const length = first.length - left;
      left -= first.length;
      if (length <= 0) this.#stock.shift();
      else this.#stock[0] = { ...first, offset: first.offset + first.length - length, length };
    }
  }
}
