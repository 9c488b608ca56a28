/** Requests in flight. A failure is thrown by the next wait. */
export class InFlight {
  readonly #requests = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  /** @param onDone called when the request has ended, successfully or not */
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

  /** Waits until fewer than `limit` are in flight. Throws the first failure. */
  async fewerThan(limit: number): Promise<void> {
    while (this.#requests.size >= limit) await Promise.race(this.#requests);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** Waits for all and ignores failures: for clean-up. */
  async settle(): Promise<void> {
    await Promise.all(this.#requests);
  }
}
