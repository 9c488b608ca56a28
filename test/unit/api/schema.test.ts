/** The oracle is Ajv, a validator of JSON Schema. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { type Schema, schemaProblem } from '../../../vmm/api/http/schema.ts';

const SCHEMAS: readonly Schema[] = [
  { type: 'string' },
  { type: 'string', enum: ['a', 'b'] },
  { type: 'integer', minimum: 1, maximum: 10 },
  { type: 'number', minimum: 0 },
  { type: 'boolean' },
  { type: 'array', items: { type: 'integer' } },
  {
    type: 'object',
    properties: { a: { type: 'string' }, b: { type: 'array', items: { type: 'boolean' } } },
    required: ['a'],
    additionalProperties: false,
  },
  { type: 'object', properties: {}, required: [], additionalProperties: { type: 'number' } },
];

const VALUES: readonly unknown[] = [
  null,
  undefined,
  'a',
  'c',
  '',
  0,
  1,
  10,
  11,
  -1,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  true,
  [],
  [1, 2],
  [1, 'x'],
  [1.5],
  {},
  { a: 'x' },
  { a: 1 },
  { a: 'x', b: [true] },
  { a: 'x', b: [1] },
  { a: 'x', c: 1 },
  { c: 1 },
  { c: 'x' },
  JSON.parse('{"__proto__": 1}'),
  JSON.parse('{"a": "x", "__proto__": 1}'),
  JSON.parse('{"a": "x", "toString": 1}'),
];

test('values are accepted and refused as Ajv does', () => {
  const ajv = new Ajv2020({ strict: true });
  for (const schema of SCHEMAS) {
    const validate = ajv.compile(schema);
    for (const value of VALUES) {
      const problem = schemaProblem(schema, value, 'it');
      assert.equal(
        problem === undefined,
        validate(value),
        `${JSON.stringify(schema)} ${JSON.stringify(value)}: ${problem}`,
      );
    }
  }
});

test('a problem names where it is', () => {
  const schema = SCHEMAS[6] as Schema;
  assert.equal(
    schemaProblem(schema, { a: 'x', b: [true, 1] }, 'it'),
    'it.b[1] must be true or false',
  );
  assert.equal(schemaProblem(schema, { b: [] }, 'it'), 'it lacks a');
  assert.equal(schemaProblem(schema, { a: 'x', z: 1 }, 'it'), 'it has no "z": there is a, b');
});
