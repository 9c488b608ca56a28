/** Access to untrusted JSON: every step is checked. */
import { TsvmError } from '../errors.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * @param what description for the message
 * @throws TsvmError `invalid-image`
 */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch (cause) {
    throw new TsvmError('invalid-image', `${what} is not JSON`, { cause });
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function objectOf(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value;
  throw new TsvmError('invalid-image', `${what} is malformed: not a JSON object`);
}

/** Undefined if it is absent or not a string. */
export function stringAt(object: JsonObject, key: string): string | undefined {
  const value = object[key];
  return typeof value === 'string' ? value : undefined;
}

/** The strings of a list; undefined if it is not a list. */
export function stringsAt(object: JsonObject, key: string): string[] | undefined {
  const value = object[key];
  if (!Array.isArray(value)) return undefined;
  return value.filter((item) => typeof item === 'string');
}

/** The string properties of an object; undefined if it is not an object. */
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
    throw new TsvmError('invalid-image', `${what} is malformed: "${key}" is missing`);
  }
  if (value.length > lengthMax) {
    throw new TsvmError('invalid-image', `${what} has more than ${lengthMax} "${key}"`);
  }
  return value;
}
