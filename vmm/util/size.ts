const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Parses a size such as `512M`, `2G`, `1.5G`, `4096K`. A number without a unit counts in units of
 * `bareUnit` bytes. Returns undefined for anything else, or when it is not a whole number of bytes.
 */
export function parseSize(text: string, bareUnit: number): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT])?(?:iB|B)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, digits = '', unit] = match;
  const scale = unit === undefined ? bareUnit : (UNITS[unit.toUpperCase()] ?? Number.NaN);
  const bytes = Number(digits) * scale;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Formats a size for people, in the largest binary unit that gives a short number. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    const scale = UNITS[unit] ?? 1;
    if (bytes >= scale) return `${Number((bytes / scale).toFixed(1))} ${unit}iB`;
  }
  return `${bytes} bytes`;
}
