import type { Volume } from '../disk-source.ts';

/** A run of a file's blocks. All numbers are blocks. */
export interface FileExtent {
  readonly fileBlock: number;
  readonly count: number;
  /** The place on the volume; undefined: reads as zeroes. */
  readonly volumeBlock: number | undefined;
}

/** A file of 1 GiB in blocks of 4 KiB, each elsewhere. */
const EXTENTS_MAX = 2 ** 18;

/** Where the content of a file is. What no extent covers reads as zeroes. */
export class ExtentList {
  readonly #volume: Volume;
  readonly #blockBytes: number;
  readonly #what: string;
  readonly #extents: FileExtent[] = [];
  #endBlock = 0;

  constructor(volume: Volume, blockBytes: number, what: string) {
    this.#volume = volume;
    this.#blockBytes = blockBytes;
    this.#what = what;
  }

  get extents(): readonly FileExtent[] {
    return this.#extents;
  }

  /** @throws TsvmError `invalid-disk` when it overlaps the previous extent or precedes it */
  add(extent: FileExtent): void {
    if (extent.count <= 0) return;
    if (extent.fileBlock < this.#endBlock) {
      throw this.#volume.invalid(`${this.#what}: extents overlap or are out of order`);
    }
    if (this.#extents.length === EXTENTS_MAX) {
      throw this.#volume.invalid(`${this.#what}: it has more than ${EXTENTS_MAX} extents`);
    }
    this.#endBlock = extent.fileBlock + extent.count;
    const last = this.#extents.at(-1);
    if (last !== undefined && adjoins(last, extent)) {
      this.#extents[this.#extents.length - 1] = { ...last, count: last.count + extent.count };
    } else {
      this.#extents.push(extent);
    }
  }

  read(offset: number, length: number): Uint8Array {
    const target = new Uint8Array(length);
    const end = offset + length;
    for (let index = this.#firstPast(offset); index < this.#extents.length; index++) {
      const extent = this.#extents[index];
      if (extent === undefined || extent.fileBlock * this.#blockBytes >= end) break;
      const { fileBlock, count, volumeBlock } = extent;
      if (volumeBlock === undefined) continue;
      const start = fileBlock * this.#blockBytes;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + count * this.#blockBytes);
      const place = volumeBlock * this.#blockBytes + (from - start);
      this.#volume.readInto(place, target.subarray(from - offset, to - offset), this.#what);
    }
    return target;
  }

  /** Index of the first extent that ends past `offset`. */
  #firstPast(offset: number): number {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { fileBlock = 0, count = 0 } = this.#extents[middle] ?? {};
      if ((fileBlock + count) * this.#blockBytes <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function adjoins(last: FileExtent, next: FileExtent): boolean {
  if (last.fileBlock + last.count !== next.fileBlock) return false;
  if (last.volumeBlock === undefined) return next.volumeBlock === undefined;
  return last.volumeBlock + last.count === next.volumeBlock;
}
