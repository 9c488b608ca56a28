import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../support/random.ts';
import { runFuzz } from './fuzz.ts';
import { mutate } from './fuzz-mutations.ts';
import { fuzzPlan } from './run-plans.ts';

test('damaged images are refused or served, and nothing else', async (t) => {
  const plan = fuzzPlan(process.env);
  t.diagnostic(`seed ${plan.seed}`);
  const { cases, slowestMs, slowestSeed } = await runFuzz(plan);
  t.diagnostic(`${cases} cases; the slowest, ${slowestSeed}, took ${slowestMs} ms`);
  assert.equal(cases, plan.cases);
});

test('mutants follow from their seed, and are not the image', () => {
  const image = new Uint8Array(4096).fill(7);
  let changed = 0;
  for (let seed = 0; seed < 100; seed++) {
    const mutant = mutate(image, new Random(seed));
    assert.deepEqual(mutant, mutate(image, new Random(seed)));
    if (Buffer.compare(mutant, image) !== 0) changed += 1;
  }
  assert.ok(changed > 80, `only ${changed} of 100 mutants differ`);
});
