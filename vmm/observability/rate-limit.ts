/**
 * Bounds what a guest can make us log. One object per call site: at most `burst` messages an
 * interval, then silence, and the next message that passes tells how many did not.
 */
export class RateLimit {
  readonly #burst: number;
  readonly #intervalMs: number;
  readonly #now: () => number;
  #windowStart = Number.NEGATIVE_INFINITY;
  #used = 0;
  #suppressed = 0;

  /** @param now a monotonic clock in milliseconds */
  constructor(burst = 5, intervalMs = 10_000, now: () => number = () => performance.now()) {
    this.#burst = burst;
    this.#intervalMs = intervalMs;
    this.#now = now;
  }

  /** Passes `message` to `log`, or counts it. */
  log(log: (message: string) => void, message: string): void {
    const now = this.#now();
    if (now - this.#windowStart >= this.#intervalMs) {
      this.#windowStart = now;
      this.#used = 0;
    }
    if (this.#used >= this.#burst) {
      this.#suppressed++;
      return;
    }
    this.#used++;
    const note = this.#suppressed > 0 ? ` (${this.#suppressed} like it not shown)` : '';
    this.#suppressed = 0;
    log(message + note);
  }
}
