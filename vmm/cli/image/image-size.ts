/** Sizes in qemu-img's notation. */
import { formatGeneral } from '../../util/c-numbers.ts';

const SUFFIXES = 'BKMGTPE';
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/**
 * A size in bytes: a number with a suffix of b, k, M, G, T, P or E, in either case, or without one.
 * Fractions of a byte are dropped. Undefined for anything else, and for impossible sizes.
 */
export function parseImageSize(text: string): number | undefined {
  const match = /^\s*\+?(0x[0-9a-f]+|\d+(?:\.\d*)?)([bkmgtpe]?)$/i.exec(text);
  if (match === null) return undefined;
  const [, digits = '', suffix = ''] = match;
  const scale = 1024 ** Math.max(0, SUFFIXES.indexOf(suffix.toUpperCase() || 'B'));
  if (scale === 1 && !Number.isInteger(Number(digits))) return undefined;
  const bytes = Math.floor(Number(digits) * scale);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Three digits and a unit: `1.32 MiB`. */
export function formatImageSize(bytes: number): string {
  let exponent = 0;
  // The next unit begins at 1000 instead of 1024, so that no number has four digits.
  while (exponent + 1 < UNITS.length && bytes / 1024 ** exponent >= 1000) exponent++;
  return `${formatGeneral(bytes / 1024 ** exponent, 3)} ${UNITS[exponent]}`;
}
