import { setImmediate } from 'node:timers/promises';

/** Long enough to cost nothing, short enough for signals to seem immediate. */
const SLICE_MS = 50;

/**
 * Lets the event loop run during work that never waits: awaiting a settled promise does not, so
 * signals would be handled only after the work.
 */
export class TimeSlices {
  #startMs = performance.now();

  /** Call it often; it yields only when a slice is over. */
  async next(): Promise<void> {
    if (performance.now() - this.#startMs < SLICE_MS) return;
    await setImmediate();
    this.#startMs = performance.now();
  }
}
