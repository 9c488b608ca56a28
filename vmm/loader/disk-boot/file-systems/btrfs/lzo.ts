/**
 * LZO as btrfs stores it: Linux's Documentation/staging/lzo.rst for the instructions, and
 * fs/btrfs/lzo.c's comment for the segments.
 */

const LENGTH_BYTES = 4;

/**
 * Decompresses an extent: its length, then segments of at most a sector of data each, with their
 * lengths. A length never crosses the end of a sector.
 * @throws RangeError when it is malformed or longer than `targetBytes`
 */
export function decompressLzo(
  source: Uint8Array,
  sectorBytes: number,
  targetBytes: number,
): Uint8Array {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const end = Math.min(view.getUint32(0, true), source.length);
  const target = new Uint8Array(targetBytes);
  let done = 0;
  for (let at = LENGTH_BYTES; at + LENGTH_BYTES <= end && done < targetBytes; ) {
    const left = sectorBytes - (at % sectorBytes);
    if (left < LENGTH_BYTES) {
      at += left;
      continue;
    }
    const length = view.getUint32(at, true);
    at += LENGTH_BYTES;
    if (length === 0 || at + length > end) throw new RangeError('an LZO segment is too long');
    const segmentEnd = Math.min(done + sectorBytes, targetBytes);
    done += decompressSegment(source.subarray(at, at + length), target.subarray(done, segmentEnd));
    at += length;
  }
  return target;
}

/** Longest match that an instruction's own bits can say, with zero bytes for more. */
const ZERO_BYTE_LENGTH = 255;
const FAR_DISTANCE = 16384;
const LITERAL_RUN_DISTANCE = 2049;

/** One LZO1X stream. Returns how many bytes it has. */
function decompressSegment(source: Uint8Array, target: Uint8Array): number {
  let at = 0;
  let done = 0;
  /** Literals that the last instruction copied: 0 to 3, or 4 for a run of them. */
  let state = 0;
  const next = (): number => {
    const byte = source[at++];
    if (byte === undefined) throw new RangeError('an LZO segment is truncated');
    return byte;
  };
  const longLength = (base: number): number => {
    let length = base;
    let byte = next();
    while (byte === 0) {
      length += ZERO_BYTE_LENGTH;
      byte = next();
    }
    return length + byte;
  };
  const literals = (count: number): void => {
    if (at + count > source.length || done + count > target.length) {
      throw new RangeError('LZO literals are too long');
    }
    target.set(source.subarray(at, at + count), done);
    at += count;
    done += count;
  };
  const match = (distance: number, length: number): void => {
    if (distance > done || done + length > target.length) {
      throw new RangeError('an LZO match is out of range');
    }
    // Byte by byte: source and target may overlap.
    for (let left = length; left > 0; left--, done++) target[done] = target[done - distance] ?? 0;
  };

  const [first = 0] = source;
  if (first > 17) {
    at = 1;
    literals(first - 17);
    state = first - 17 < 4 ? first - 17 : 4;
  }
  for (;;) {
    const instruction = next();
    let trailing: number;
    if (instruction < 16 && state === 0) {
      literals(instruction === 0 ? longLength(15 + 3) : instruction + 3);
      state = 4;
      continue;
    }
    if (instruction < 16) {
      const distance = (next() << 2) + (instruction >> 2);
      if (state === 4) match(distance + LITERAL_RUN_DISTANCE, 3);
      else match(distance + 1, 2);
      trailing = instruction & 3;
    } else if (instruction >= 64) {
      const distance = (next() << 3) + ((instruction >> 2) & 7) + 1;
      match(distance, (instruction >> 5) + 1);
      trailing = instruction & 3;
    } else if (instruction >= 32) {
      const length = (instruction & 31 || longLength(31)) + 2;
      const low = next();
      const distance = (next() << 6) + (low >> 2) + 1;
      match(distance, length);
      trailing = low & 3;
    } else {
      const length = (instruction & 7 || longLength(7)) + 2;
      const low = next();
      const distance = ((instruction & 8) << 11) + (next() << 6) + (low >> 2) + FAR_DISTANCE;
      // Distance 0 beyond the far window is the end mark.
      if (distance === FAR_DISTANCE) return done;
      match(distance, length);
      trailing = low & 3;
    }
    literals(trailing);
    state = trailing;
  }
}
