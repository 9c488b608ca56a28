/**
 * Host clusters that have lost a reference which the file may still have. They are free, and may be
 * used again, only when it is known that the file has lost it too. Kept as runs, since what is freed
 * together mostly lies together.
 */
export class PendingFrees {
  /** First cluster and count, alternating. */
  #runs: number[] = [];

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** Runs of adjoining clusters. */
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

  /** Takes all of them; the list is empty then. */
  take(): number[] {
    const runs = this.#runs;
    this.#runs = [];
    return runs;
  }

  /** Puts back what was taken: it did not become known. */
  restore(runs: readonly number[]): void {
    this.#runs = [...runs, ...this.#runs];
  }
}
