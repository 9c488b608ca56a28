/** JSON from strangers: every step into it is checked. */
import { TsvmError } from '../errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * @param what whose it is, for the message
 * @throws TsvmError `invalid-image`
 */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    throw new TsvmError('invalid-image', `${what} is no JSON`, { cause });
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function objectOf(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value;
  throw new TsvmError('invalid-image', `${what} is not as it should be: no JSON object`);
}

/** Undefined when it is absent, or no string. */
export function stringAt(object: JsonObject, key: string): string | undefined {
  const value = object[key];
  return typeof value === 'string' ? value : undefined;
}

/** The strings of a list; undefined when there is none. */
export function stringsAt(object: JsonObject, key: string): string[] | undefined {
  const value = object[key];
  if (!Array.isArray(value)) return undefined;
  return value.filter((item) => typeof item === 'string');
}

/** What an object says in strings; undefined when there is none. */
export function stringMapAt(object: JsonObject, key: string): Record<string, string> | undefined {
  const value = object[key];
  if (!isObject(value)) return undefined;
  const entries = Object.entries(value).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  );
  return Object.fromEntries(entries);
}

export function arrayAt(
  object: JsonObject,
  key: string,
  lengthMax: number,
  what: string,
): unknown[] {
  const value = object[key];
  if (!Array.isArray(value)) {
    throw new TsvmError('invalid-image', `${what} is not as it should be: it has no "${key}"`);
  }
  if (value.length > lengthMax) {
    throw new TsvmError('invalid-image', `${what} has more than ${lengthMax} "${key}"`);
  }
  return value;
}
