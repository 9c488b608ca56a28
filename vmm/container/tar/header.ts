/**
 * A tar archive's header block: POSIX.1-2001, pax, "ustar Interchange Format", with GNU tar's
 * base-256 numbers and the fields that its headers have in the place of a prefix.
 */
import { TsvmError } from '../../errors.ts';

export const TAR_BLOCK_BYTES = 512;

/** What is in a header block, before extended headers change it. Names are bytes, as latin1. */
export interface TarHeader {
  readonly type: string;
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const SPACE = 0x20;
/** The magic: `ustar`, and a NUL of POSIX's or a space of GNU tar's. */
const USTA = 0x61747375;
const LETTER_R = 0x72;
const CHECKSUM_START = 148;
const CHECKSUM_END = 156;

export function malformed(what: string): TsvmError {
  return new TsvmError('invalid-image', `the tar archive is malformed: ${what}`);
}

/** Bytes up to the first NUL. Most fields are empty or short: a call out of JavaScript takes longer. */
function text(block: Buffer, start: number, length: number): string {
  let end = start;
  while (end < start + length && block[end] !== 0) end++;
  return end === start ? '' : block.toString('latin1', start, end);
}

/** Octal digits between spaces and NULs, or a big-endian number behind a set high bit. */
function number(block: Buffer, start: number, length: number, what: string): number {
  const first = block[start] ?? 0;
  if (first >= 0x80) return binaryNumber(block, start, length, what);
  let value = 0;
  let index = start;
  const end = start + length;
  while (index < end && block[index] === SPACE) index++;
  for (; index < end; index++) {
    const digit = (block[index] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  const stop = block[index] ?? 0;
  if (index < end && stop !== 0 && stop !== SPACE) throw malformed(`${what} is no octal number`);
  return value;
}

function binaryNumber(block: Buffer, start: number, length: number, what: string): number {
  const negative = block[start] === 0xff;
  let value = negative ? -1 : (block[start] ?? 0) & 0x7f;
  for (let index = start + 1; index < start + length; index++) {
    value = value * 256 + (block[index] ?? 0);
    if (!Number.isSafeInteger(value)) throw malformed(`${what} is out of range`);
  }
  return value;
}

export function isZeroBlock(block: Buffer): boolean {
  for (let index = 0; index < block.length; index += 4) {
    if (block.readInt32LE(index) !== 0) return false;
  }
  return true;
}

/** Sums of the bytes of a header, four at a time, with spaces where the checksum is. */
function checkSum(block: Buffer): void {
  // Two sums of 16 bits each: 256 bytes do not overflow one.
  let sums = 0;
  for (let index = 0; index < TAR_BLOCK_BYTES; index += 4) {
    if (index === CHECKSUM_START) index = CHECKSUM_END;
    const word = block.readInt32LE(index);
    sums += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
  }
  const sum = 8 * SPACE + (sums & 0xffff) + (sums >>> 16);
  const stored = number(block, CHECKSUM_START, 8, 'a checksum');
  if (stored !== sum && stored !== sum - 256 * negativeBytes(block)) {
    throw malformed('the checksum of a header is wrong');
  }
}

/** Old archives have the sum of signed bytes. */
function negativeBytes(block: Buffer): number {
  let count = 0;
  block.forEach((byte, index) => {
    if (index < CHECKSUM_START || index >= CHECKSUM_END) count += byte >> 7;
  });
  return count;
}

/**
 * @param block 512 bytes
 * @throws TsvmError `invalid-image`
 */
export function parseTarHeader(block: Buffer): TarHeader {
  checkSum(block);
  const isTar = block.readUInt32LE(257) === USTA && block[261] === LETTER_R;
  const isPosix = isTar && block[262] === 0;
  const name = text(block, 0, 100);
  const prefix = isPosix ? text(block, 345, 155) : '';
  const sizeBytes = number(block, 124, 12, 'a size');
  if (sizeBytes < 0) throw malformed('a size is negative');
  const hasDevice = isPosix || (isTar && block[262] === SPACE);
  return {
    type: String.fromCharCode(block[156] ?? 0),
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: text(block, 157, 100),
    mode: number(block, 100, 8, 'a mode'),
    uid: number(block, 108, 8, 'a user ID'),
    gid: number(block, 116, 8, 'a group ID'),
    sizeBytes,
    mtimeSeconds: number(block, 136, 12, 'a time'),
    deviceMajor: hasDevice ? number(block, 329, 8, 'a device number') : 0,
    deviceMinor: hasDevice ? number(block, 337, 8, 'a device number') : 0,
  };
}
