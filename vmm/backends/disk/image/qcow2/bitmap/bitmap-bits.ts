/** The bits of persistent bitmaps: docs/interop/qcow2.txt, "Bitmaps", "Bitmap data". */
import { TsvmError } from '../../../../../errors.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import { HIGH_OFFSET_MASK, LOW_OFFSET_MASK } from '../header/layout.ts';
import type { Bitmap } from './bitmap-tables.ts';

/** "Bitmap table entry", bit 0: without an offset, all bits of the cluster are set. */
const ALL_ONES = 1;
const ENTRY_BYTES = 8;

/** A bit for each granule of a disk; the lowest bit of a byte comes first. */
export interface Bits {
  readonly bytes: Uint8Array;
  readonly granularityBytes: number;
  readonly diskBytes: number;
}

export function emptyBits(diskBytes: number, granularityBytes: number): Bits {
  const count = Math.ceil(diskBytes / granularityBytes);
  return { bytes: new Uint8Array(Math.ceil(count / 8)), granularityBytes, diskBytes };
}

/**
 * Reads a bitmap, whose table has been validated.
 * @throws TsvmError `invalid-disk` for an invalid entry
 */
export function readBits(
  file: ImageFile,
  { granularityBytes, name, table }: Bitmap,
  image: { readonly clusterBytes: number; readonly sizeBytes: number },
): Bits {
  const bits = emptyBits(image.sizeBytes, granularityBytes);
  const entries = new Uint8Array(table.entries * ENTRY_BYTES);
  file.readSync(table.offset, entries);
  const view = new DataView(entries.buffer);
  for (let at = 0; at < bits.bytes.length; at += image.clusterBytes) {
    const index = (at / image.clusterBytes) * ENTRY_BYTES;
    const high = view.getUint32(index);
    const low = view.getUint32(index + 4);
    const offset = (high & HIGH_OFFSET_MASK) * 2 ** 32 + ((low & LOW_OFFSET_MASK) >>> 0);
    const part = bits.bytes.subarray(at, at + image.clusterBytes);
    if (offset % image.clusterBytes !== 0 || offset >= file.sizeBytes()) {
      throw new TsvmError(
        'invalid-disk',
        `${file.path}: the table of the bitmap ${JSON.stringify(name)} points to ${offset}, where ` +
          'no bits can be',
      );
    }
    if (offset !== 0) file.readSync(offset, part);
    else if ((low & ALL_ONES) !== 0) part.fill(0xff);
  }
  clearBehindEnd(bits);
  return bits;
}

/** Sets all bits that are set in `source`, of a disk of the same size. */
export function mergeBits(target: Bits, source: Bits): void {
  if (target.granularityBytes === source.granularityBytes) {
    for (let at = 0; at < target.bytes.length; at++) {
      target.bytes[at] = (target.bytes[at] ?? 0) | (source.bytes[at] ?? 0);
    }
    return;
  }
  const { granularityBytes } = target;
  for (const [start, end] of setRanges(source)) {
    const first = Math.floor(start / granularityBytes);
    const last = Math.ceil(Math.min(end, target.diskBytes) / granularityBytes);
    setBits(target.bytes, first, last);
  }
}

/** Sets the bits of a range of the disk. */
export function setRange({ bytes, granularityBytes }: Bits, offset: number, length: number): void {
  const first = Math.floor(offset / granularityBytes);
  setBits(bytes, first, Math.ceil((offset + length) / granularityBytes));
}

/** The bits of a disk that has got another size; none is set for a new part, as in QEMU. */
export function resizedBits(bits: Bits, diskBytes: number): Bits {
  if (bits.diskBytes === diskBytes) return bits;
  const resized = emptyBits(diskBytes, bits.granularityBytes);
  resized.bytes.set(bits.bytes.subarray(0, resized.bytes.length));
  clearBehindEnd(resized);
  return resized;
}

/** The ranges of the disk whose bits are set, in bytes. */
function* setRanges({ bytes, granularityBytes }: Bits): Generator<readonly [number, number]> {
  let start: number | undefined;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    // Most bytes are all ones or all zeroes.
    if (start === undefined ? byte === 0 : byte === 0xff) continue;
    for (let bit = 0; bit < 8; bit++) {
      const isSet = (byte & (1 << bit)) !== 0;
      const offset = (at * 8 + bit) * granularityBytes;
      if (isSet && start === undefined) start = offset;
      if (isSet || start === undefined) continue;
      yield [start, offset];
      start = undefined;
    }
  }
  if (start !== undefined) yield [start, bytes.length * 8 * granularityBytes];
}

function setBits(bytes: Uint8Array, first: number, end: number): void {
  for (let bit = first; bit < end; ) {
    if (bit % 8 === 0 && bit + 8 <= end) {
      const last = Math.floor(end / 8);
      bytes.fill(0xff, bit / 8, last);
      bit = last * 8;
      continue;
    }
    const at = Math.floor(bit / 8);
    bytes[at] = (bytes[at] ?? 0) | (1 << (bit % 8));
    bit++;
  }
}

/** Unused bits may have any value in the file. */
function clearBehindEnd({ bytes, diskBytes, granularityBytes }: Bits): void {
  const used = Math.ceil(diskBytes / granularityBytes) % 8;
  const last = bytes.length - 1;
  if (used !== 0 && last >= 0) bytes[last] = (bytes[last] ?? 0) & ((1 << used) - 1);
}
