import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** So long that only what never happens takes longer, even on an emulated host that is busy. */
export const PATIENCE_MS = 120_000;

const POLL_MS = 20;

/** Waits until `condition` holds. @throws AssertionError that says `what` did not happen */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  for (const deadline = performance.now() + PATIENCE_MS; !(await condition()); ) {
    assert.ok(performance.now() < deadline, `in ${PATIENCE_MS} ms: ${what}`);
    await sleep(POLL_MS);
  }
}
