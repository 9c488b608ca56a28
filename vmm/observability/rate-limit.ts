/**
 * Limits the rate of log messages that a guest can cause. Use one object per call site: it passes at
 * most `burst` messages per interval. The next message that passes reports how many were suppressed.
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

  /** Passes `message` to `log`, or counts it as suppressed. */
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
    const note = this.#suppressed > 0 ? ` (${this.#suppressed} similar messages suppressed)` : '';
    this.#suppressed = 0;
    log(message + note);
  }
}
