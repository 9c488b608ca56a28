import { TsvmError } from '../../../../../errors.ts';

const PAGE_CLUSTERS = 1024;
/** The highest count in the narrow form of a page. */
const NARROW_MAX = 255;
const BYTES_MAX = 2 ** 30;
/** Approximate memory of a page besides its counts. */
const PAGE_OVERHEAD_BYTES = 200;

type Page = Uint8Array | Float64Array;

/**
 * A count for each host cluster, initially 0, in pages that exist only where something was counted:
 * an image that claims petabytes costs only what it really refers to. Counts are mostly 1, so a
 * page begins with one byte each and is widened when a count does not fit.
 */
export class ClusterCounts {
  /** Clusters that one page covers. */
  static readonly PAGE_CLUSTERS = PAGE_CLUSTERS;

  readonly #pages = new Map<number, Page>();
  readonly #bytesMax: number;
  #bytes = 0;

  /** @param bytesMax bound of the counts' memory */
  constructor(bytesMax = BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  get(cluster: number): number {
    const page = this.#pages.get(Math.floor(cluster / PAGE_CLUSTERS));
    return page === undefined ? 0 : (page[cluster % PAGE_CLUSTERS] ?? 0);
  }

  /**
   * @returns the new count
   * @throws TsvmError `invalid-disk` when the counts would exceed it
   */
  add(cluster: number, times: number): number {
    const index = Math.floor(cluster / PAGE_CLUSTERS);
    let page = this.#pages.get(index) ?? this.#addPage(index);
    const at = cluster % PAGE_CLUSTERS;
    const count = (page[at] ?? 0) + times;
    if (count > NARROW_MAX && page instanceof Uint8Array) {
      this.#reserve(PAGE_CLUSTERS * Float64Array.BYTES_PER_ELEMENT);
      page = Float64Array.from(page);
      this.#pages.set(index, page);
    }
    page[at] = count;
    return count;
  }

  /** False when all clusters of the page that contains `cluster` have the count 0. */
  hasPageOf(cluster: number): boolean {
    return this.#pages.has(Math.floor(cluster / PAGE_CLUSTERS));
  }

  /** Calls `visit` for each cluster whose count is not 0, in ascending order. */
  forEach(visit: (cluster: number, count: number) => void): void {
    const indices = Float64Array.from(this.#pages.keys()).sort();
    for (const index of indices) {
      const page = this.#pages.get(index);
      if (page === undefined) continue;
      for (let at = 0; at < PAGE_CLUSTERS; at++) {
        const count = page[at] ?? 0;
        if (count !== 0) visit(index * PAGE_CLUSTERS + at, count);
      }
    }
  }

  #addPage(index: number): Page {
    this.#reserve(PAGE_CLUSTERS + PAGE_OVERHEAD_BYTES);
    const page = new Uint8Array(PAGE_CLUSTERS);
    this.#pages.set(index, page);
    return page;
  }

  #reserve(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#bytesMax) return;
    throw new TsvmError(
      'invalid-disk',
      'the image refers to too many scattered clusters to count them in ' +
        `${this.#bytesMax / 2 ** 20} MiB of memory; copy what is readable with "tsvm image convert"`,
    );
  }
}
