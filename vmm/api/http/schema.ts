/**
 * The subset of JSON Schema (draft 2020-12, as in OpenAPI 3.1) that the APIs use. One literal is the
 * documentation, the check and, by {@link FromSchema}, the TypeScript type of a value.
 */
export type Schema =
  | StringSchema
  | NumberSchema
  | { readonly type: 'boolean'; readonly description?: string }
  | ArraySchema
  | ObjectSchema;

interface StringSchema {
  readonly type: 'string';
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly format?: 'date-time';
}

interface NumberSchema {
  readonly type: 'integer' | 'number';
  readonly description?: string;
  readonly minimum?: number;
  readonly maximum?: number;
}

interface ArraySchema {
  readonly type: 'array';
  readonly description?: string;
  readonly items: Schema;
}

export interface ObjectSchema {
  readonly type: 'object';
  readonly description?: string;
  readonly properties: Readonly<Record<string, Schema>>;
  /** All other properties are optional. */
  readonly required: readonly string[];
  /** Properties that are not listed are either refused or must match this schema. */
  readonly additionalProperties: false | Schema;
}

type Properties<S extends ObjectSchema> = {
  readonly [K in keyof S['properties'] & S['required'][number]]: FromSchema<S['properties'][K]>;
} & {
  readonly [K in Exclude<keyof S['properties'], S['required'][number]>]?: FromSchema<
    S['properties'][K]
  >;
} & (S['additionalProperties'] extends Schema
    ? Readonly<Record<string, FromSchema<S['additionalProperties']>>>
    : unknown);

/** The type of the values that a schema describes. */
export type FromSchema<S extends Schema> = S extends StringSchema
  ? S['enum'] extends readonly (infer Word)[]
    ? Word
    : string
  : S extends NumberSchema
    ? number
    : S extends ArraySchema
      ? readonly FromSchema<S['items']>[]
      : S extends ObjectSchema
        ? Properties<S>
        : boolean;

/**
 * The reason why a value does not match, as a sentence that begins with `what`; undefined if it matches.
 */
export function schemaProblem(schema: Schema, value: unknown, what: string): string | undefined {
  switch (schema.type) {
    case 'string':
      return stringProblem(schema, value, what);
    case 'integer':
    case 'number':
      return numberProblem(schema, value, what);
    case 'boolean':
      return typeof value === 'boolean' ? undefined : `${what} must be true or false`;
    case 'array':
      if (!Array.isArray(value)) return `${what} must be a list`;
      return firstProblem(value.entries(), ([index, item]) =>
        schemaProblem(schema.items, item, `${what}[${index}]`),
      );
    case 'object':
      return objectProblem(schema, value, what);
  }
}

function stringProblem(schema: StringSchema, value: unknown, what: string): string | undefined {
  if (typeof value !== 'string') return `${what} must be a string`;
  const { enum: words, format } = schema;
  if (words !== undefined && !words.includes(value)) return `${what} must be ${words.join(' or ')}`;
  const invalid = format === 'date-time' && Number.isNaN(Date.parse(value));
  return invalid ? `${what} must be a date and time` : undefined;
}

function numberProblem(schema: NumberSchema, value: unknown, what: string): string | undefined {
  const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = schema;
  const isInteger = schema.type === 'integer';
  const typed = isInteger ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!typed) return `${what} must be ${isInteger ? 'an integer' : 'a number'}`;
  const number = Number(value);
  if (number < minimum) return `${what} must be at least ${minimum}`;
  return number > maximum ? `${what} must be at most ${maximum}` : undefined;
}

function objectProblem(schema: ObjectSchema, value: unknown, what: string): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return `${what} must be an object`;
  }
  const { properties, required, additionalProperties } = schema;
  const missing = required.find((name) => !Object.hasOwn(value, name));
  if (missing !== undefined) return `${what} lacks ${missing}`;
  return firstProblem(Object.entries(value), ([name, field]) => {
    const own = Object.hasOwn(properties, name) ? properties[name] : additionalProperties;
    if (own === false || own === undefined) {
      const known = Object.keys(properties).join(', ');
      return `${what} has no ${JSON.stringify(name)}${known === '' ? '' : `: there is ${known}`}`;
    }
    return schemaProblem(own, field, `${what}.${name}`);
  });
}

function firstProblem<T>(
  items: Iterable<T>,
  problemOf: (item: T) => string | undefined,
): string | undefined {
  for (const item of items) {
    const problem = problemOf(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
