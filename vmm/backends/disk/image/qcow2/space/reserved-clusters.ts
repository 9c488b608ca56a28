/** Host clusters that are reserved although their refcount is 0: few runs, unordered. */
export class ReservedClusters {
  readonly #runs: { first: number; end: number }[] = [];

  add(first: number, count: number): void {
    const end = first + count;
    const before = this.#runs.find((run) => run.end === first);
    if (before !== undefined) before.end = end;
    else this.#runs.push({ first, end });
  }

  /** Removes clusters of one run, at its beginning or its end. */
  remove(first: number, count: number): void {
    const end = first + count;
    const index = this.#runs.findIndex((run) => run.first <= first && end <= run.end);
    const run = this.#runs[index];
    if (run === undefined) throw new Error(`clusters ${first} to ${end} are not reserved`);
    if (run.first === first) run.first = end;
    else run.end = first;
    if (run.first === run.end) this.#runs.splice(index, 1);
  }

  /** The first cluster from `from` on that is not reserved. */
  nextOther(from: number): number {
    let cluster = from;
    for (;;) {
      const run = this.#runs.find(({ first, end }) => first <= cluster && cluster < end);
      if (run === undefined) return cluster;
      cluster = run.end;
    }
  }

  /** Number of unreserved clusters from `from` on, at most `most`. */
  othersFrom(from: number, most: number): number {
    let count = most;
    for (const { first, end } of this.#runs) {
      if (end > from) count = Math.min(count, Math.max(0, first - from));
    }
    return count;
  }
}
