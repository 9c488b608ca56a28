/** Extended headers: POSIX.1-2001, pax, "pax Header Block". */
import { malformed } from './header.ts';

const SPACE = 0x20;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;
const DIGIT_0 = 0x30;
const LETTER_A = 0x61;
const LETTER_C = 0x63;

/**
 * `length key=value\n`, one behind the other. Keys and values are bytes, as latin1. Keys with an `a`
 * or a `c` in front, times and comments that no one keeps, are in every header of GNU tar's: they are
 * left out.
 */
export function parsePaxRecords(bytes: Buffer): [string, string][] {
  const records: [string, string][] = [];
  for (let start = 0; start < bytes.length; ) {
    // Some writers fill the rest with NULs.
    if (bytes[start] === 0) break;
    let length = 0;
    let at = start;
    for (let digit = digitAt(bytes, at); digit >= 0; digit = digitAt(bytes, ++at)) {
      length = length * 10 + digit;
    }
    const end = start + length;
    const isRecord = at > start && bytes[at] === SPACE && end > at + 1 && end <= bytes.length;
    if (!isRecord || bytes[end - 1] !== NEWLINE) {
      throw malformed('the length of an extended header record is wrong');
    }
    const key = at + 1;
    let equals = key;
    while (equals < end && bytes[equals] !== EQUALS) equals++;
    if (equals === key || equals === end) {
      throw malformed('an extended header record has no key');
    }
    if (bytes[key] !== LETTER_A && bytes[key] !== LETTER_C) {
      const value = bytes.toString('latin1', equals + 1, end - 1);
      records.push([bytes.toString('latin1', key, equals), value]);
    }
    start = end;
  }
  return records;
}

function digitAt(bytes: Buffer, at: number): number {
  const digit = (bytes[at] ?? 0) - DIGIT_0;
  return digit <= 9 ? digit : -1;
}

/** @throws TsvmError `invalid-image` */
export function paxInteger(value: string, what: string): number {
  const number = /^-?\d+$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw malformed(`${what} is out of range`);
  return number;
}

/** A time with a fraction: whole seconds, rounded down, and nanoseconds. */
export function paxTime(value: string): { readonly seconds: number; readonly nanoseconds: number } {
  const match = /^(-?)(\d+)(?:\.(\d*))?$/.exec(value);
  if (match === null) throw malformed('a time in an extended header is no number');
  const [, sign, digits = '', fraction = ''] = match;
  const seconds = paxInteger(digits, 'a time');
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, '0'));
  if (sign !== '-') return { seconds, nanoseconds };
  if (nanoseconds === 0) return { seconds: -seconds || 0, nanoseconds };
  return { seconds: -seconds - 1, nanoseconds: 1e9 - nanoseconds };
}
