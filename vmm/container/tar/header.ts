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
const CHECKSUM_START = 148;
const CHECKSUM_END = 156;

export function malformed(what: string): TsvmError {
  return new TsvmError('invalid-image', `the tar archive is malformed: ${what}`);
}

/** Bytes up to the first NUL. */
function text(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString('latin1', start, end < 0 || end > start + length ? start + length : end);
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

/** Old archives have the sum of signed bytes. */
function checkSum(block: Buffer): void {
  let unsigned = 8 * SPACE;
  let negatives = 0;
  for (let index = 0; index < TAR_BLOCK_BYTES; index++) {
    if (index === CHECKSUM_START) index = CHECKSUM_END;
    const byte = block[index] ?? 0;
    unsigned += byte;
    negatives += byte >> 7;
  }
  const stored = number(block, CHECKSUM_START, 8, 'a checksum');
  if (stored !== unsigned && stored !== unsigned - 256 * negatives) {
    throw malformed('the checksum of a header is wrong');
  }
}

/**
 * @param block 512 bytes
 * @throws TsvmError `invalid-image`
 */
export function parseTarHeader(block: Buffer): TarHeader {
  checkSum(block);
  const magic = block.toString('latin1', 257, 263);
  const isPosix = magic === 'ustar\0';
  const name = text(block, 0, 100);
  const prefix = isPosix ? text(block, 345, 155) : '';
  const sizeBytes = number(block, 124, 12, 'a size');
  if (sizeBytes < 0) throw malformed('a size is negative');
  const hasDevice = isPosix || magic === 'ustar ';
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
