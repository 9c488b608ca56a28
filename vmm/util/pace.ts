import { setTimeout } from 'node:timers/promises';

/** Sleeps are no longer than this, so that what waits for them may be ended. */
const SLEEP_MS_MAX = 100;

/** Holds work to a rate: so many bytes a second on average, from the start on. */
export class Pace {
  readonly #bytesPerSecond: number;
  readonly #startMs = performance.now();
  #bytes = 0;

  /** @param bytesPerSecond more than 0 */
  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Waits until so many more bytes are due. @throws the signal's reason when that is aborted */
  async spend(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    this.#bytes += bytes;
    const dueMs = this.#startMs + (this.#bytes / this.#bytesPerSecond) * 1000;
    for (let leftMs = dueMs - performance.now(); leftMs > 0; leftMs = dueMs - performance.now()) {
      signal?.throwIfAborted();
      await setTimeout(Math.min(leftMs, SLEEP_MS_MAX));
    }
  }
}
