/**
 * Host clusters that have lost a reference which the file may still contain. They become free only
 * when a flush has removed it from the file. Kept as runs, since clusters freed together mostly
 * adjoin.
 */
export class PendingFrees {
  /** First cluster and count, alternating. */
  #runs: number[] = [];

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** Number of runs of adjoining clusters. */
  get runCount(): number {
    return this.#runs.length / 2;
  }

  add(first: number, count: number): void {
    const runs = this.#runs;
    const lastFirst = runs.at(-2) ?? -1;
    const lastCount = runs.at(-1) ?? 0;
    if (runs.length > 0 && lastFirst + lastCount === first)
      runs[runs.length - 1] = lastCount + count;
    else runs.push(first, count);
  }

  /** Takes all runs; the list is empty then. */
  take(): number[] {
    const runs = this.#runs;
    this.#runs = [];
    return runs;
  }

  /** Puts back what was taken, since the flush failed. */
  restore(runs: readonly number[]): void {
    this.#runs = [...runs, ...this.#runs];
  }
}
