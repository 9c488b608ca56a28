import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { runKills } from './kill.ts';
import { killPlan } from './run-plans.ts';

test('an image whose process is killed under load has all that was flushed', async (t) => {
  const plan = killPlan(process.env);
  t.diagnostic(`seed ${plan.seed}`);
  const { kills, flushes, steps } = await runKills({ ...plan, lanes: availableParallelism() });
  t.diagnostic(`${kills} kills, ${flushes} flushes, ${steps} steps`);
  assert.equal(kills, plan.kills);
  assert.ok(flushes > kills, 'too few flushes to prove anything');
});
