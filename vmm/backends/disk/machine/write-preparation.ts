import { SECTOR_BYTES } from '../file/sector.ts';
import { visitChain } from '../image/chain-run.ts';
import type { DiskRange, ExtentPusher } from './extent-pusher.ts';
import type { MachineImage } from './machine-image.ts';
import { WriteAhead } from './write-ahead.ts';

/** What an image needs before the data plane may write to a range of it. */
export class WritePreparation {
  readonly #image: MachineImage;
  readonly #extents: ExtentPusher;
  readonly #ahead = new WriteAhead();

  constructor(image: MachineImage, extents: ExtentPusher) {
    this.#image = image;
    this.#extents = extents;
  }

  /**
   * Makes the clusters of a range writable, except zeroes that the data plane will claim space for.
   * @returns how many bytes it will claim, in whole clusters
   */
  prepareUnclaimable(range: DiskRange): number {
    let claimable = 0;
    const { offset, end } = this.clusters(range);
    for (let at = offset; at < end; ) {
      const claimableEnd = this.#claimableEnd(at, end);
      claimable += claimableEnd - at;
      let next = claimableEnd;
      while (next < end && this.#claimableEnd(next, next + 1) === next) {
        next += this.#image.clusterBytes;
      }
      const from = Math.max(claimableEnd, range.offset);
      const to = Math.min(next, range.end);
      if (to > from) this.#image.prepareWriteSync(from, to - from);
      at = next;
    }
    return claimable;
  }

  /** End of the claimable whole clusters that begin at `offset`. */
  #claimableEnd(offset: number, end: number): number {
    const { clusterBytes } = this.#image;
    const wholeEnd = Math.min(Math.ceil(end / clusterBytes) * clusterBytes, this.#image.sizeBytes);
    let claimableEnd = offset;
    visitChain(this.#image, offset, wholeEnd, (run) => {
      if (!this.#extents.isClaimable(run)) return false;
      claimableEnd = run.offset + run.length;
      return true;
    });
    return claimableEnd - ((claimableEnd - offset) % clusterBytes);
  }

  /** Prepares clusters after a prepared range, for the writes to come; returns the larger range. */
  prepareAhead({ offset, end }: DiskRange): DiskRange {
    try {
      const aheadEnd = this.#zeroesEnd(end, this.#ahead.next(offset, end));
      if (aheadEnd > end) this.#image.prepareWriteSync(end, aheadEnd - end);
      return { offset, end: aheadEnd };
    } catch {
      // There is no room for more than was asked for.
      return { offset, end };
    }
  }

  /** End of the zeroes that begin at `offset`; preparing them copies nothing. */
  #zeroesEnd(offset: number, most: number): number {
    let zeroesEnd = offset;
    visitChain(this.#image, offset, Math.min(most, this.#image.sizeBytes), (run) => {
      if (run.kind === 'zero') zeroesEnd = run.offset + run.length;
      return run.kind === 'zero';
    });
    return zeroesEnd;
  }

  /** Whether something in the range is shared and has to be written elsewhere. */
  losesPlace({ offset, end }: DiskRange): boolean {
    try {
      for (let at = offset; at < end; ) {
        const run = this.#image.mapSync(at, end - at);
        if (run.kind === 'data' && !run.writable) return true;
        at += run.length;
      }
    } catch {
      // Broken metadata fails the write itself.
    }
    return false;
  }

  /** A write that still cannot be served after all this would be retried for ever: fail it. */
  checkWritable({ offset, end }: DiskRange): void {
    for (let at = offset; at < end; ) {
      const run = this.#image.mapSync(at, end - at);
      const hasNoPlace = run.kind === 'zero' || run.kind === 'unallocated';
      const isClaimable = hasNoPlace && run.file === undefined;
      if (!run.writable && !(isClaimable && this.#image.canReserve))
        throw new Error(`the image has no place for what is written at ${at}`);
      at += run.length;
    }
  }

  /** The range extended to whole clusters, or to sectors where those are larger. */
  clusters({ offset, end }: DiskRange): DiskRange {
    const unit = Math.max(this.#image.clusterBytes, SECTOR_BYTES);
    return {
      offset: offset - (offset % unit),
      end: Math.min(Math.ceil(end / unit) * unit, this.#image.sizeBytes),
    };
  }
}
