/**
 * A tar archive's header block: POSIX.1-2001, pax, "ustar Interchange Format", with GNU tar's
 * base-256 numbers and the fields that its headers have instead of a prefix.
 */
import { TsvmError } from '../../errors.ts';

export const TAR_BLOCK_BYTES = 512;

/** A member as described by its header alone, without extended headers. Names are bytes as latin1. */
export interface TarHeader {
  readonly name: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

const SPACE = 0x20;
const DIGIT_0 = 0x30;
const DIGIT_7 = 0x37;
/** The magic: `ustar`, followed by a NUL (POSIX) or a space (GNU tar). */
const USTA = 0x61747375;
const LETTER_R = 0x72;
const CHECKSUM_START = 148;
const CHECKSUM_END = 156;

export function malformed(what: string): TsvmError {
  return new TsvmError('invalid-image', `the tar archive is malformed: ${what}`);
}

/** Bytes up to the first NUL. Most fields are short, for which a native call would be slower. */
function text(bytes: Buffer, start: number, length: number): string {
  let end = start;
  while (end < start + length && bytes[end] !== 0) end++;
  return end === start ? '' : bytes.toString('latin1', start, end);
}

/** Octal digits between spaces and NULs, or a big-endian number if the high bit is set. */
function number(bytes: Buffer, start: number, length: number, what: string): number {
  const end = start + length;
  let index = start;
  let byte = bytes[index] ?? 0;
  if (byte >= 0x80) return binaryNumber(bytes, start, length, what);
  while (byte === SPACE && index < end) byte = bytes[++index] ?? 0;
  let value = 0;
  while (byte >= DIGIT_0 && byte <= DIGIT_7 && index < end) {
    value = value * 8 + byte - DIGIT_0;
    byte = bytes[++index] ?? 0;
  }
  if (index < end && byte !== 0 && byte !== SPACE) throw malformed(`${what} is no octal number`);
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

/** Whether the block at `at` is all zeroes. */
export function isZeroBlock(words: Int32Array, at: number): boolean {
  const end = (at + TAR_BLOCK_BYTES) / 4;
  for (let index = at / 4; index < end; index++) if (words[index] !== 0) return false;
  return true;
}

/** Checks the sum of a header's bytes, with spaces in place of the checksum, four bytes at a time. */
function checkSum(bytes: Buffer, words: Int32Array, at: number): void {
  // Two sums of 16 bits each: 256 bytes do not overflow one.
  let sums = 0;
  for (let index = at / 4; index < (at + CHECKSUM_START) / 4; index++) {
    const word = words[index] ?? 0;
    sums += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
  }
  for (let index = (at + CHECKSUM_END) / 4; index < (at + TAR_BLOCK_BYTES) / 4; index++) {
    const word = words[index] ?? 0;
    sums += (word & 0x00ff00ff) + ((word >>> 8) & 0x00ff00ff);
  }
  const sum = 8 * SPACE + (sums & 0xffff) + (sums >>> 16);
  const stored = number(bytes, at + CHECKSUM_START, 8, 'a checksum');
  if (stored !== sum && stored !== sum - 256 * negativeBytes(bytes, at)) {
    throw malformed('the checksum of a header is wrong');
  }
}

/** Old archives use the sum of signed bytes. */
function negativeBytes(bytes: Buffer, at: number): number {
  let count = 0;
  bytes.subarray(at, at + TAR_BLOCK_BYTES).forEach((byte, index) => {
    if (index < CHECKSUM_START || index >= CHECKSUM_END) count += byte >> 7;
  });
  return count;
}

/** The type of a header, and what is needed to find the next one. */
export interface HeaderKind {
  /** The code of a letter. */
  readonly type: number;
  /** Size of the data that follows. */
  readonly sizeBytes: number;
}

/**
 * Checks the header block at `at`, a multiple of 4.
 * @param words the same memory as `bytes`
 * @throws TsvmError `invalid-image`
 */
export function checkTarHeader(bytes: Buffer, words: Int32Array, at: number): HeaderKind {
  checkSum(bytes, words, at);
  const sizeBytes = number(bytes, at + 124, 12, 'a size');
  if (sizeBytes < 0) throw malformed('a size is negative');
  return { type: bytes[at + 156] ?? 0, sizeBytes };
}

/**
 * Parses the remaining fields of a checked header.
 * @throws TsvmError `invalid-image`
 */
export function parseTarHeader(bytes: Buffer, at: number): TarHeader {
  const isTar = bytes.readUInt32LE(at + 257) === USTA && bytes[at + 261] === LETTER_R;
  const isPosix = isTar && bytes[at + 262] === 0;
  const name = text(bytes, at, 100);
  const prefix = isPosix ? text(bytes, at + 345, 155) : '';
  const hasDevice = isPosix || (isTar && bytes[at + 262] === SPACE);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: text(bytes, at + 157, 100),
    mode: number(bytes, at + 100, 8, 'a mode'),
    uid: number(bytes, at + 108, 8, 'a user ID'),
    gid: number(bytes, at + 116, 8, 'a group ID'),
    mtimeSeconds: number(bytes, at + 136, 12, 'a time'),
    deviceMajor: hasDevice ? number(bytes, at + 329, 8, 'a device number') : 0,
    deviceMinor: hasDevice ? number(bytes, at + 337, 8, 'a device number') : 0,
  };
}
