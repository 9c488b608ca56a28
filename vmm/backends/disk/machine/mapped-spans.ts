/**
 * Which parts of a disk, all of one size, have been mapped to extents, and how many that took: so
 * that the data plane's memory stays bounded however large the disk is. Extents that have been
 * joined or replaced still count: the figure is never too low.
 */
export class MappedSpans {
  readonly spanBytes: number;
  readonly #extentsMax: number;
  /** Extents by the span's offset, the one that got some longest ago first. */
  readonly #extents = new Map<number, number>();
  #total = 0;

  constructor(spanBytes: number, extentsMax: number) {
    this.spanBytes = spanBytes;
    this.#extentsMax = extentsMax;
  }

  /** Offset of the span that a byte is in. */
  start(offset: number): number {
    return offset - (offset % this.spanBytes);
  }

  has(offset: number): boolean {
    return this.#extents.has(this.start(offset));
  }

  /** Notes that so many extents were pushed for the span that `offset` is in. */
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

  /** Forgets a span that is to be withdrawn, since there are too many extents; its offset. */
  takeExcess(): number | undefined {
    // The last one is in use now.
    if (this.#total <= this.#extentsMax || this.#extents.size < 2) return undefined;
    for (const [start, count] of this.#extents) {
      this.#extents.delete(start);
      this.#total -= count;
      return start;
    }
    return undefined;
  }
}
