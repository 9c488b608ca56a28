import type { FileRange, ImageFile } from '../file/image-file.ts';
import type { Claim, Disk } from './disk.ts';
import type { MachineImage } from './machine-image.ts';

/** The stock begins with this many clusters and doubles when it runs low, up to the maxima. */
const CLUSTERS_MIN = 32;
const CLUSTERS_MAX = 1024;
const BYTES_MAX = 64 * 2 ** 20;

/**
 * Free clusters of an image that the data plane has in stock: the first write to zeroes claims some,
 * and the image records the claim later, at the latest before the next change. Clusters in stock are
 * free in the file, so a crash loses none.
 */
export class ClusterStock {
  readonly #image: MachineImage;
  readonly #disk: Disk;
  readonly #reach: (file: ImageFile, end: number) => void;
  /** Ranges in the order in which the data plane uses them. */
  #ranges: FileRange[] = [];
  #bytes = 0;
  #targetBytes: number;
  /** Taken from the data plane, not yet recorded in the image. */
  #claims: Claim[] = [];
  #active = false;

  /** @param reach lets a file grow to at least `end` bytes */
  constructor(image: MachineImage, disk: Disk, reach: (file: ImageFile, end: number) => void) {
    this.#image = image;
    this.#disk = disk;
    this.#reach = reach;
    this.#targetBytes = Math.min(CLUSTERS_MIN * image.clusterBytes, BYTES_MAX);
  }

  /** Something was stocked once, so there may be claims. */
  get isActive(): boolean {
    return this.#active;
  }

  /** Half of the target is left, or less. */
  get isLow(): boolean {
    return this.#active && this.#bytes * 2 <= this.#targetBytes;
  }

  setClaiming(allowed: boolean): void {
    if (this.#active) this.#disk.setClaiming(allowed);
  }

  /**
   * Records the claims in the image.
   * @returns the disk offset of each new claim
   * @throws what the image throws; the next call continues with the remaining claims
   */
  applyClaims(): number[] {
    if (!this.#active) return [];
    const taken = this.#disk.takeClaims();
    for (const claim of taken) {
      this.#claims.push(claim);
      this.#consume(claim.length);
    }
    for (const { offset, length, fdOffset } of this.#claims) {
      this.#image.applyClaimSync(offset, length, fdOffset);
    }
    this.#claims = [];
    return taken.map(({ offset }) => offset);
  }

  /**
   * Stocks at least `leastBytes`, plus expected demand. The first call turns claiming off.
   * @throws what the image throws when it cannot reserve `leastBytes`
   */
  refill(leastBytes: number): void {
    if (this.isLow) this.#targetBytes = this.#nextTargetBytes();
    const { clusterBytes } = this.#image;
    const target = Math.max(leastBytes, this.#targetBytes);
    while (this.#bytes < target) {
      const missing = Math.ceil((target - this.#bytes) / clusterBytes);
      try {
        this.#add(this.#image.reserveSync(missing));
      } catch (error) {
        if (this.#bytes < leastBytes) throw error;
        return;
      }
    }
  }

  /** Releases everything that was not claimed. The data plane has stopped. */
  release(): void {
    this.applyClaims();
    // Last first, so that the file can be truncated before all of them.
    for (const range of this.#ranges.splice(0).reverse()) this.#image.releaseSync(range);
    this.#bytes = 0;
  }

  #nextTargetBytes(): number {
    const most = Math.min(CLUSTERS_MAX * this.#image.clusterBytes, BYTES_MAX);
    return Math.max(this.#targetBytes, Math.min(2 * this.#targetBytes, most));
  }

  #add(range: FileRange): void {
    try {
      this.#reach(range.file, range.offset + range.length);
      range.file.expectWritesSync(range.offset, range.length);
      if (!this.#active) this.#disk.setClaiming(false);
      this.#active = true;
      this.#disk.addStock(range.file.fd, this.#image.clusterBytes, range.offset, range.length);
    } catch (error) {
      this.#image.releaseSync(range);
      throw error;
    }
    this.#ranges.push(range);
    this.#bytes += range.length;
  }

  /** The data plane has claimed this many bytes from the oldest ranges. */
  #consume(bytes: number): void {
    this.#bytes -= bytes;
    for (let left = bytes; left > 0; ) {
      const [first] = this.#ranges;
      if (first === undefined) throw new Error('more was claimed than was in stock');
      const length = first.length - left;
      left -= first.length;
      if (length <= 0) this.#ranges.shift();
      else this.#ranges[0] = { ...first, offset: first.offset + first.length - length, length };
    }
  }
}
