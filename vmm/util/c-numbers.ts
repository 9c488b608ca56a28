/**
 * Numbers as C's printf formats them. JavaScript rounds half up; C, by default, rounds half to
 * even: 3.125 becomes 3.12.
 */

/** `%.Nf`. @param value at least 0, less than 1e21 */
export function formatFixed(value: number, digits: number): string {
  const rounded = value.toFixed(digits);
  // All digits of a double, unless it is tiny.
  const exact = value.toFixed(100);
  const cut = exact.indexOf('.') + (digits === 0 ? 0 : digits + 1);
  const rest = exact.slice(cut).replace('.', '');
  const below = exact.slice(0, cut);
  return /^50*$/.test(rest) && /[02468]$/.test(below) ? below : rounded;
}

/** `%.Ng`, for values of at least 0.0001, or 0. */
export function formatGeneral(value: number, digits: number): string {
  if (value === 0) return '0';
  const magnitude = Math.floor(Math.log10(value));
  const decimals = digits - 1 - magnitude;
  const fixed = decimals >= 0 ? formatFixed(value, decimals) : value.toFixed(0);
  if (Number(fixed) >= 10 ** digits) return exponential(Number(fixed), digits);
  return fixed.includes('.') ? fixed.replace(/\.?0+$/, '') : fixed;
}

function exponential(value: number, digits: number): string {
  const [mantissa = '', exponent = ''] = value.toExponential(digits - 1).split('e+');
  return `${mantissa.replace(/\.?0+$/, '')}e+${exponent.padStart(2, '0')}`;
}
