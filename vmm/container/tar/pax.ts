/** Extended headers: POSIX.1-2001, pax, "pax Header Block". */
import { malformed } from './header.ts';

const SPACE = 0x20;
const NEWLINE = 0x0a;
const POINT = 0x2e;
const EQUALS = 0x3d;
const DIGIT_0 = 0x30;
const LETTER_A = 0x61;
const LETTER_C = 0x63;
/** The first letters of `mtime`, which no other key starts with. */
const MTIM = 0x6d69746d;
const MTIME_LENGTH = 5;
const NANOSECOND_DIGITS = 9;
const SECOND_DIGITS_MAX = 15;
const XATTR_PREFIX = 'SCHILY.xattr.';
const SPARSE_PREFIX = 'GNU.sparse.';

/** The fields that an extended header sets for the next member. Names and values are bytes as latin1. */
export interface PaxValues {
  path: string | undefined;
  linkPath: string | undefined;
  sizeBytes: number | undefined;
  uid: number | undefined;
  gid: number | undefined;
  mtimeSeconds: number | undefined;
  mtimeNanoseconds: number;
  xattrs: Map<string, string> | undefined;
  /** The records of a sparse file, in order. */
  sparse: [string, string][] | undefined;
}

export const NO_PAX_VALUES: Readonly<PaxValues> = emptyValues();

function emptyValues(): PaxValues {
  return {
    path: undefined,
    linkPath: undefined,
    sizeBytes: undefined,
    uid: undefined,
    gid: undefined,
    mtimeSeconds: undefined,
    mtimeNanoseconds: 0,
    xattrs: undefined,
    sparse: undefined,
  };
}

/**
 * Parses `length key=value\n` records from `start` to `limit`. Keys that begin with `a` or `c` are
 * skipped: they are times and comments, which are not needed and are in every header of GNU tar.
 * @throws TsvmError `invalid-image`
 */
export function parsePaxRecords(bytes: Buffer, start: number, limit: number): PaxValues {
  const values = emptyValues();
  for (let record = start; record < limit; ) {
    // Some writers pad with NULs.
    if (bytes[record] === 0) break;
    let length = 0;
    let at = record;
    for (let digit = digitAt(bytes, at); digit >= 0; digit = digitAt(bytes, ++at)) {
      length = length * 10 + digit;
    }
    const end = record + length;
    const isRecord = at > record && bytes[at] === SPACE && end > at + 1 && end <= limit;
    if (!isRecord || bytes[end - 1] !== NEWLINE) {
      throw malformed('the length of an extended header record is wrong');
    }
    const key = at + 1;
    let equals = key;
    while (equals < end && bytes[equals] !== EQUALS) equals++;
    if (equals === key || equals === end) {
      throw malformed('an extended header record has no key');
    }
    const first = bytes[key] ?? 0;
    if (first !== LETTER_A && first !== LETTER_C) {
      const isMtime = equals - key === MTIME_LENGTH && bytes.readInt32LE(key) === MTIM;
      if (!isMtime || !setPlainTime(values, bytes, equals + 1, end - 1)) {
        const value = bytes.toString('latin1', equals + 1, end - 1);
        setValue(values, bytes.toString('latin1', key, equals), value);
      }
    }
    record = end;
  }
  return values;
}

function digitAt(bytes: Buffer, at: number): number {
  const digit = (bytes[at] ?? 0) - DIGIT_0;
  return digit <= 9 ? digit : -1;
}

/** An empty value means that the field is not set. */
function setValue(values: PaxValues, key: string, value: string): void {
  if (value === '') return;
  if (key.startsWith(XATTR_PREFIX)) {
    values.xattrs ??= new Map();
    values.xattrs.set(key.slice(XATTR_PREFIX.length), value);
  } else if (key.startsWith(SPARSE_PREFIX)) {
    values.sparse ??= [];
    values.sparse.push([key, value]);
  } else if (key === 'path') values.path = value;
  else if (key === 'linkpath') values.linkPath = value;
  else if (key === 'uid') values.uid = paxInteger(value, 'a user ID');
  else if (key === 'gid') values.gid = paxInteger(value, 'a group ID');
  else if (key === 'mtime') {
    const { seconds, nanoseconds } = paxTime(value);
    values.mtimeSeconds = seconds;
    values.mtimeNanoseconds = nanoseconds;
  } else if (key === 'size') {
    values.sizeBytes = paxInteger(value, 'a size');
    if (values.sizeBytes < 0) throw malformed('a size is negative');
  }
}

/**
 * Most headers have one value, a time, which is parsed without creating a string.
 * @returns false for anything but a plain number
 */
function setPlainTime(values: PaxValues, bytes: Buffer, start: number, end: number): boolean {
  let at = start;
  let seconds = 0;
  for (let digit = digitAt(bytes, at); digit >= 0 && at < end; digit = digitAt(bytes, ++at)) {
    seconds = seconds * 10 + digit;
  }
  if (at === start || at - start > SECOND_DIGITS_MAX) return false;
  let nanoseconds = 0;
  if (at < end) {
    if (bytes[at] !== POINT) return false;
    const fraction = ++at;
    for (let digit = digitAt(bytes, at); digit >= 0 && at < end; digit = digitAt(bytes, ++at)) {
      if (at - fraction < NANOSECOND_DIGITS) nanoseconds = nanoseconds * 10 + digit;
    }
    if (at < end) return false;
    for (let digits = at - fraction; digits < NANOSECOND_DIGITS; digits++) nanoseconds *= 10;
  }
  values.mtimeSeconds = seconds;
  values.mtimeNanoseconds = nanoseconds;
  return true;
}

/** @throws TsvmError `invalid-image` */
export function paxInteger(value: string, what: string): number {
  const number = /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw malformed(`${what} is out of range`);
  return number;
}

/** A time with a fraction: whole seconds, rounded down, and nanoseconds. */
function paxTime(value: string): { readonly seconds: number; readonly nanoseconds: number } {
  const match = /^(-?)(\d+)(?:\.(\d*))?$/.exec(value);
  if (match === null) throw malformed('a time in an extended header is no number');
  const [, sign, digits = '', fraction = ''] = match;
  const seconds = paxInteger(digits, 'a time');
  const nanoseconds = Number(fraction.slice(0, NANOSECOND_DIGITS).padEnd(NANOSECOND_DIGITS, '0'));
  if (sign !== '-') return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: -seconds || 0, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}
