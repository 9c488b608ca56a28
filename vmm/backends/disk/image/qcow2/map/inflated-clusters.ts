/** Memory for the inflated clusters of a chain of images, unless a single one is larger. */
const KEPT_BYTES = 4 * 2 ** 20;
const KEPT_CLUSTERS = 64;

interface Entry {
  readonly owner: InflatedClusters;
  readonly offset: number;
  readonly sizeBytes: number;
  cluster: Uint8Array | Promise<Uint8Array>;
}

/** The inflated clusters of all images in a chain, so that a long chain takes no more memory than one image. */
export class InflatedBudget {
  /** The least recently used one first. */
  readonly #entries = new Set<Entry>();
  #bytes = 0;

  /** Adds an entry, or marks it as used, and evicts others when there are too many. */
  use(entry: Entry): void {
    this.remove(entry);
    this.#entries.add(entry);
    this.#bytes += entry.sizeBytes;
    for (const oldest of this.#entries) {
      const fits = this.#entries.size <= KEPT_CLUSTERS && this.#bytes <= KEPT_BYTES;
      if (fits || oldest === entry) return;
      oldest.owner.evict(oldest.offset);
    }
  }

  remove(entry: Entry): void {
    if (this.#entries.delete(entry)) this.#bytes -= entry.sizeBytes;
  }
}

/**
 * The compressed clusters of an image that were read last, inflated, by their host offset: a guest
 * that reads one in small pieces has it inflated once.
 */
export class InflatedClusters {
  readonly #clusterBytes: number;
  readonly #budget: InflatedBudget;
  readonly #entries = new Map<number, Entry>();

  constructor(clusterBytes: number, budget: InflatedBudget) {
    this.#clusterBytes = clusterBytes;
    this.#budget = budget;
  }

  getSync(offset: number, inflate: () => Uint8Array): Uint8Array {
    const known = this.#entries.get(offset)?.cluster;
    const plain = known instanceof Uint8Array ? known : inflate();
    this.#keep(offset, plain);
    return plain;
  }

  get(offset: number, inflate: () => Promise<Uint8Array>): Uint8Array | Promise<Uint8Array> {
    const known = this.#entries.get(offset);
    if (known !== undefined) {
      this.#budget.use(known);
      return known.cluster;
    }
    const inflating = inflate();
    const entry = this.#keep(offset, inflating);
    const replace = (plain?: Uint8Array) => {
      // It may have been evicted, or cleared because its place became free.
      if (this.#entries.get(offset) !== entry || entry.cluster !== inflating) return;
      if (plain === undefined) this.evict(offset);
      else entry.cluster = plain;
    };
    // A failure is not kept: the next read tries again.
    inflating.then(replace, () => replace());
    return inflating;
  }

  /** Host clusters have become free and may soon hold something else. */
  clear(): void {
    for (const offset of this.#entries.keys()) this.evict(offset);
  }

  /** Forgets a cluster. */
  evict(offset: number): void {
    const entry = this.#entries.get(offset);
    if (entry === undefined) return;
    this.#entries.delete(offset);
    this.#budget.remove(entry);
  }

  #keep(offset: number, cluster: Uint8Array | Promise<Uint8Array>): Entry {
    let entry = this.#entries.get(offset);
    if (entry === undefined) {
      entry = { owner: this, offset, sizeBytes: this.#clusterBytes, cluster };
      this.#entries.set(offset, entry);
    }
    entry.cluster = cluster;
    this.#budget.use(entry);
    return entry;
  }
}
