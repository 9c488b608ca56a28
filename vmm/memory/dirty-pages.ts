/** Bytes. */
const PAGE_SIZE = 4096;

/** Which pages of a region were written: a bit for each, least significant first. */
interface RegionBitmap {
  readonly gpa: number;
  readonly bitmap: Uint8Array;
}

export interface PageRun {
  readonly gpa: number;
  readonly lengthBytes: number;
}

/** Pages of guest memory that were written. */
export class DirtyPages {
  readonly #regions: readonly RegionBitmap[];

  constructor(regions: readonly RegionBitmap[]) {
    this.#regions = regions;
  }

  /** Pages that adjoin, in ascending order; no run goes beyond its region. */
  *runs(): Generator<PageRun> {
    for (const { gpa, bitmap } of this.#regions) {
      let start: number | undefined;
      for (let page = 0; page <= bitmap.length * 8; page += 1) {
        const byte = bitmap[page >> 3] ?? 0;
        if (start === undefined && byte === 0) {
          // To the last page of this byte.
          page |= 7;
          continue;
        }
        const dirty = (byte >> (page & 7)) & 1;
        if (dirty === 1) {
          start ??= page;
        } else if (start !== undefined) {
          yield { gpa: gpa + start * PAGE_SIZE, lengthBytes: (page - start) * PAGE_SIZE };
          start = undefined;
        }
      }
    }
  }

  /** Number of pages. */
  get count(): number {
    let pages = 0;
    for (const { lengthBytes } of this.runs()) pages += lengthBytes / PAGE_SIZE;
    return pages;
  }

  /** Whether the page of this address was written. */
  has(gpa: number): boolean {
    for (const { gpa: first, bitmap } of this.#regions) {
      const page = Math.floor((gpa - first) / PAGE_SIZE);
      if (page < 0 || page >= bitmap.length * 8) continue;
      return (((bitmap[page >> 3] ?? 0) >> (page & 7)) & 1) === 1;
    }
    return false;
  }
}
