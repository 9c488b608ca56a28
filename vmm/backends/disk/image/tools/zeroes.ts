/** For comparison by memcmp(3). */
const ZEROES = Buffer.alloc(64 * 1024);

/** Whether a range of `bytes` is all zero. */
export function isZero(bytes: Buffer, start: number, end: number): boolean {
  // Most data differs in its first byte, and a call costs more than a look.
  if (start < end && bytes[start] !== 0) return false;
  for (let at = start; at < end; at += ZEROES.length) {
    const length = Math.min(ZEROES.length, end - at);
    if (bytes.compare(ZEROES, 0, length, at, at + length) !== 0) return false;
  }
  return true;
}

/** A part of a buffer. */
export interface Piece {
  readonly start: number;
  readonly end: number;
  readonly zero: boolean;
}

/**
 * Divides a buffer into zero parts and parts to write.
 * @param unit granularity in bytes
 */
export function* piecesOf(bytes: Buffer, unit: number): Generator<Piece, void, undefined> {
  let start = 0;
  let zero = isZero(bytes, 0, Math.min(unit, bytes.length));
  for (let at = unit; at < bytes.length; at += unit) {
    const next = isZero(bytes, at, Math.min(at + unit, bytes.length));
    if (next === zero) continue;
    yield { start, end: at, zero };
    start = at;
    zero = next;
  }
  if (bytes.length > 0) yield { start, end: bytes.length, zero };
}
