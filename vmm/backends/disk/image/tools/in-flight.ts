/** Requests that are under way. One that fails is reported by the next wait. */
export class InFlight {
  readonly #requests = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  /** @param onDone called when the request is over, however it ends */
  add(request: Promise<void>, onDone: () => void): void {
    const tracked = request
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#requests.delete(tracked);
        onDone();
      });
    this.#requests.add(tracked);
  }

  /** Waits until fewer than `limit` are left. Throws what the first failed one threw. */
  async fewerThan(limit: number): Promise<void> {
    while (this.#requests.size >= limit) await Promise.race(this.#requests);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits for all, and throws nothing: for the way out. */
  async settle(): Promise<void> {
    await Promise.all(this.#requests);
  }
}
