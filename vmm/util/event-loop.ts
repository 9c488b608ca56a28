import { setImmediate } from 'node:timers/promises';

/** Long enough to cost nothing, short enough for a signal to seem to work at once. */
const SLICE_MS = 50;

/**
 * Lets the event loop turn during work that waits for nothing. Awaiting a promise that is settled
 * does not: signals would not be heard before the work is done.
 */
export class TimeSlices {
  #startMs = performance.now();

  /** To be called often; does something only now and then. */
  async next(): Promise<void> {
    if (performance.now() - this.#startMs < SLICE_MS) return;
    await setImmediate();
    this.#startMs = performance.now();
  }
}
