/**
 * The host clusters that hold metadata in use, so that nothing else is written there even when
 * refcounts are wrong. A sorted list: there are few, and ranges are looked up.
 */
export class MetadataClusters {
  readonly #clusters: number[];

  private constructor(sorted: number[]) {
    this.#clusters = sorted;
  }

  /**
   * @param clusters in any order
   * @returns the first cluster that occurs twice, if any
   */
  static of(clusters: Float64Array): { metadata: MetadataClusters; twice: number | undefined } {
    const sorted = Array.from(clusters.sort());
    const twice = sorted.find((cluster, index) => index > 0 && sorted[index - 1] === cluster);
    return { metadata: new MetadataClusters(sorted), twice };
  }

  add(first: number, count: number): void {
    const added = Array.from({ length: count }, (_, index) => first + index);
    this.#clusters.splice(this.#position(first), 0, ...added);
  }

  remove(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) {
      const position = this.#position(cluster);
      if (this.#clusters[position] === cluster) this.#clusters.splice(position, 1);
    }
  }

  /** The first metadata cluster in a range. */
  firstIn(first: number, count: number): number | undefined {
    const found = this.#clusters[this.#position(first)];
    return found !== undefined && found < first + count ? found : undefined;
  }

  /** The index of the first entry that is at least `cluster`. */
  #position(cluster: number): number {
    let low = 0;
    let high = this.#clusters.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#clusters[middle] ?? 0) < cluster) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
