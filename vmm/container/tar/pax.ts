/** Extended headers: POSIX.1-2001, pax, "pax Header Block". */
import { malformed } from './header.ts';

const DECIMAL = /^\d+$/;
const SPACE = 0x20;
const NEWLINE = 0x0a;
const EQUALS = 0x3d;

/** `length key=value\n`, one behind the other. Keys and values are bytes, as latin1. */
export function parsePaxRecords(bytes: Buffer): [string, string][] {
  const records: [string, string][] = [];
  for (let start = 0; start < bytes.length; ) {
    const space = bytes.indexOf(SPACE, start);
    const digits = space < 0 ? '' : bytes.toString('latin1', start, space);
    const end = start + (DECIMAL.test(digits) ? Number(digits) : Number.NaN);
    // Some writers fill the rest with NULs.
    if (space < 0 && bytes[start] === 0) break;
    if (!(end > space + 1) || end > bytes.length || bytes[end - 1] !== NEWLINE) {
      throw malformed('the length of an extended header record is wrong');
    }
    const equals = bytes.indexOf(EQUALS, space + 1);
    if (equals <= space + 1 || equals >= end) {
      throw malformed('an extended header record has no key');
    }
    records.push([
      bytes.toString('latin1', space + 1, equals),
      bytes.toString('latin1', equals + 1, end - 1),
    ]);
    start = end;
  }
  return records;
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
