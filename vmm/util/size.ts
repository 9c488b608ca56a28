const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * Reads a size as people write it: `512M`, `2G`, `1.5G`, `4096K`. A bare number is in `bareUnit`
 * bytes. Answers undefined for what is no size, or not a whole number of bytes.
 */
export function parseSize(text: string, bareUnit: number): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT])?(?:iB|B)?$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, digits = '', unit] = match;
  const scale = unit === undefined ? bareUnit : (UNITS[unit.toUpperCase()] ?? Number.NaN);
  const bytes = Number(digits) * scale;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** A size for a person: the largest binary unit in which it is a short number. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    const scale = UNITS[unit] ?? 1;
    if (bytes >= scale) return `${Number((bytes / scale).toFixed(1))} ${unit}iB`;
  }
  return `${bytes} bytes`;
}
