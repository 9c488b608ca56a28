/** Two engines, or an engine and the model, disagree. */
export class Mismatch extends Error {}

/** @throws Mismatch with the place of the first difference */
export function expectBytes(
  actual: Uint8Array,
  expected: Uint8Array,
  offset: number,
  what: string,
): void {
  if (Buffer.compare(actual, expected) === 0) return;
  const at = expected.findIndex((byte, index) => actual[index] !== byte);
  let end = at;
  while (end < expected.length && actual[end] !== expected[end]) end++;
  throw new Mismatch(
    `${what}: bytes ${offset + at} to ${offset + end} are ${hex(actual, at)}…, ` +
      `should be ${hex(expected, at)}…`,
  );
}

function hex(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.subarray(at, at + 8)).toString('hex');
}
