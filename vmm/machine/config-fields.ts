/** Checks of configuration records, which may come from a JSON file. */
import { TsvmError } from '../errors.ts';

/** @throws TsvmError `invalid-config` */
export function invalid(message: string): never {
  throw new TsvmError('invalid-config', message);
}

/** What a value of plain JSON must be, in words, and whether it is. */
export interface Kind {
  readonly words: string;
  readonly accepts: (value: unknown) => boolean;
}

const isString = (value: unknown): value is string => typeof value === 'string';
const isStrings = (value: unknown) => Array.isArray(value) && value.every(isString);
export const TEXT: Kind = { words: 'a string', accepts: isString };
export const TEXTS: Kind = { words: 'a list of strings', accepts: isStrings };
export const NUMBER: Kind = { words: 'a number', accepts: (value) => typeof value === 'number' };
export const BOOLEAN: Kind = {
  words: 'true or false',
  accepts: (value) => typeof value === 'boolean',
};
export const RECORD: Kind = {
  words: 'an object',
  accepts: (value) => typeof value === 'object',
};
export const LIST: Kind = { words: 'a list', accepts: Array.isArray };
export function oneOf(words: readonly string[]): Kind {
  return {
    words: words.map((word) => `"${word}"`).join(' or '),
    accepts: (value) => isString(value) && words.includes(value),
  };
}

/** Refuses what is no record, or has a field that is unknown or of another type. */
export function checkFields(
  what: string,
  record: unknown,
  kinds: Readonly<Record<string, Kind>>,
): void {
  if (typeof record !== 'object' || record === null || Array.isArray(record)) {
    invalid(`${what}: give an object`);
  }
  for (const [name, value] of Object.entries(record)) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
    if (kind === undefined) {
      invalid(`${what} has no "${name}": there are ${Object.keys(kinds).join(', ')}`);
    }
    if (value !== undefined && !kind.accepts(value)) {
      invalid(`"${name}" of ${what}: give ${kind.words}`);
    }
  }
}
