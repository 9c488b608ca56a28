import { TsvmError } from '../../errors.ts';

const UNITS_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/**
 * A time as Docker's options take it: RFC 3339, seconds since 1970, or how long ago, such as `1h30m`.
 * @returns ms since 1970; undefined if it is none of them
 */
export function tryParseTime(value: string): number | undefined {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s)/g)];
  if (parts.length > 0 && parts.map(([part]) => part).join('') === value) {
    const ago = parts.reduce(
      (sum, [, count, unit = 's']) => sum + Number(count) * (UNITS_MS[unit] ?? 0),
      0,
    );
    return Date.now() - ago;
  }
  const ms = /^\d+(?:\.\d+)?$/.test(value) ? Number(value) * 1000 : Date.parse(value);
  return Number.isFinite(ms) ? ms : undefined;
}

/** @throws TsvmError `invalid-reference` */
export function parseTime(value: string): number {
  const ms = tryParseTime(value);
  if (ms !== undefined) return ms;
  throw new TsvmError('invalid-reference', `invalid filter 'until=${value}': not a valid time`);
}
