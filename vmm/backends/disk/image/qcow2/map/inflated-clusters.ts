/** Memory for inflated clusters, unless a single one is larger. */
const KEPT_BYTES = 4 * 2 ** 20;
const KEPT_CLUSTERS = 64;

/**
 * The compressed clusters of an image that were read last, inflated, by their host offset: a guest
 * that reads one in small pieces has it inflated once.
 */
export class InflatedClusters {
  readonly #countMax: number;
  /** The least recently used one first. */
  readonly #clusters = new Map<number, Uint8Array | Promise<Uint8Array>>();

  constructor(clusterBytes: number) {
    this.#countMax = Math.max(1, Math.min(KEPT_CLUSTERS, KEPT_BYTES / clusterBytes));
  }

  getSync(offset: number, inflate: () => Uint8Array): Uint8Array {
    const known = this.#clusters.get(offset);
    const plain = known instanceof Uint8Array ? known : inflate();
    this.#keep(offset, plain);
    return plain;
  }

  get(offset: number, inflate: () => Promise<Uint8Array>): Uint8Array | Promise<Uint8Array> {
    const known = this.#clusters.get(offset);
    if (known !== undefined) {
      this.#keep(offset, known);
      return known;
    }
    const inflating = inflate();
    this.#keep(offset, inflating);
    const replace = (plain?: Uint8Array) => {
      // It may have been evicted, or cleared because its place became free.
      if (this.#clusters.get(offset) !== inflating) return;
      if (plain === undefined) this.#clusters.delete(offset);
      else this.#clusters.set(offset, plain);
    };
    // A failure is not kept: the next read tries again.
    inflating.then(replace, () => replace());
    return inflating;
  }

  /** Host clusters have become free and may soon hold something else. */
  clear(): void {
    this.#clusters.clear();
  }

  #keep(offset: number, cluster: Uint8Array | Promise<Uint8Array>): void {
    this.#clusters.delete(offset);
    this.#clusters.set(offset, cluster);
    if (this.#clusters.size <= this.#countMax) return;
    for (const oldest of this.#clusters.keys()) {
      this.#clusters.delete(oldest);
      return;
    }
  }
}
