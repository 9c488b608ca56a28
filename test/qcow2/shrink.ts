import type { Operation } from './operations.ts';

/** Bound of the attempts to shorten a failing stream. */
const ATTEMPTS = 60;

/** Removes operations, first many at once and then few, as long as the rest still fails. */
export async function shrink(
  operations: readonly Operation[],
  attempt: (operations: readonly Operation[]) => Promise<Error | undefined>,
): Promise<{ operations: readonly Operation[]; failure: Error | undefined }> {
  let shortest = operations;
  let failure: Error | undefined;
  let attempts = ATTEMPTS;
  for (let part = Math.ceil(operations.length / 2); part >= 1; part = Math.floor(part / 2)) {
    for (let end = shortest.length; end > 0 && attempts > 0; end -= part) {
      attempts -= 1;
      const without = [...shortest.slice(0, Math.max(0, end - part)), ...shortest.slice(end)];
      const stillFails = await attempt(without);
      if (stillFails === undefined) continue;
      shortest = without;
      failure = stillFails;
    }
  }
  return { operations: shortest, failure };
}
