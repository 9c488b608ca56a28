/** The functions of templates: those that Docker adds to Go's, and Go's own. */
import { isRecord, isTruthy, showJson, showValue } from './values.ts';

export type TemplateFunction = (...args: unknown[]) => unknown;

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new TypeError(`wrong type for value; expected string; got ${typeof value}`);
}

function integer(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  throw new TypeError(`wrong type for value; expected int; got ${typeof value}`);
}

function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new TypeError(`wrong type for value; expected []string; got ${typeof value}`);
}

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : a > b ? 1 : 0;
  throw new TypeError('incompatible types for comparison');
}

function indexed(collection: unknown, ...keys: readonly unknown[]): unknown {
  let value = collection;
  for (const key of keys) {
    if (Array.isArray(value)) {
      const at = integer(key);
      if (at < 0 || at >= value.length) throw new RangeError(`index out of range: ${at}`);
      value = value[at];
    } else if (isRecord(value)) {
      const name = text(key);
      value = Object.hasOwn(value, name) ? value[name] : '';
    } else throw new TypeError(`can't index item of type ${typeof value}`);
  }
  return value;
}

const SPACES_MAX = 10_000;

function spaces(count: unknown): string {
  return ' '.repeat(Math.min(SPACES_MAX, Math.max(0, integer(count))));
}

function printf(format: unknown, ...args: readonly unknown[]): string {
  let next = 0;
  return text(format).replace(/%(-?)(\d{0,4})([a-z%])/g, (_, minus, width, verb) => {
    if (verb === '%') return '%';
    const value = args[next++];
    const shown = verb === 'q' ? JSON.stringify(showValue(value)) : showValue(value);
    return minus ? shown.padEnd(Number(width)) : shown.padStart(Number(width));
  });
}

export const FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  json: (value) => showJson(value),
  split: (value, separator) => text(value).split(text(separator)),
  join: (values, separator) => list(values).map(showValue).join(text(separator)),
  title: (value) =>
    text(value).replace(/(^|\s)(\p{L})/gu, (_, gap, first) => gap + first.toUpperCase()),
  lower: (value) => text(value).toLowerCase(),
  upper: (value) => text(value).toUpperCase(),
  pad: (value, before, after) => (value === '' ? '' : spaces(before) + text(value) + spaces(after)),
  truncate: (value, length) => text(value).slice(0, integer(length)),
  print: (...values) => values.map(showValue).join(''),
  println: (...values) => `${values.map(showValue).join(' ')}\n`,
  printf,
  len: (value) => {
    if (typeof value === 'string' || Array.isArray(value)) return value.length;
    if (isRecord(value)) return Object.keys(value).length;
    throw new TypeError(`len of type ${typeof value}`);
  },
  index: indexed,
  slice: (value, from = 0, to = undefined) => {
    const end = to === undefined ? undefined : integer(to);
    if (typeof value === 'string') return value.slice(integer(from), end);
    return list(value).slice(integer(from), end);
  },
  eq: (value, ...others) => others.some((other) => other === value),
  ne: (a, b) => a !== b,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  and: (...values) => values.find((value) => !isTruthy(value)) ?? values.at(-1),
  or: (...values) => values.find(isTruthy) ?? values.at(-1),
  not: (value) => !isTruthy(value),
};

/** In a table's header names stay as they are. */
export const HEADER_FUNCTIONS: Readonly<Record<string, TemplateFunction>> = {
  ...FUNCTIONS,
  ...Object.fromEntries(
    ['json', 'split', 'join', 'title', 'lower', 'upper', 'truncate'].map((name) => [
      name,
      (value: unknown) => value,
    ]),
  ),
};
