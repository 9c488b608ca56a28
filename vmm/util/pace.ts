import { setTimeout } from 'node:timers/promises';

/** Upper bound of one sleep, so that an abort takes effect soon. */
const SLEEP_MS_MAX = 100;

/** Limits work to an average rate since its start. */
export class Pace {
  readonly #bytesPerSecond: number;
  readonly #startMs = performance.now();
  #bytes = 0;

  /** @param bytesPerSecond more than 0 */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Waits until `bytes` more are due. @throws the signal's reason when aborted */
  async spend(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    this.#bytes += bytes;
    const dueMs = this.#startMs + (this.#bytes / this.#bytesPerSecond) * 1000;
    for (let leftMs = dueMs - performance.now(); leftMs > 0; leftMs = dueMs - performance.now()) {
      signal?.throwIfAborted();
      await setTimeout(Math.min(leftMs, SLEEP_MS_MAX));
    }
  }
}
