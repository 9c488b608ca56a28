import assert from 'node:assert/strict';
import { test } from 'node:test';
import { once } from '../../../vmm/util/once.ts';

test('the answer is computed once, undefined too', () => {
  let calls = 0;
  const answer = once(() => {
    calls++;
    return undefined;
  });
  assert.equal(calls, 0);
  assert.equal(answer(), undefined);
  assert.equal(answer(), undefined);
  assert.equal(calls, 1);
});

test('a failure is not kept', () => {
  let calls = 0;
  const answer = once(() => {
    if (calls++ === 0) throw new Error('not yet');
    return calls;
  });
  assert.throws(answer, /not yet/);
  assert.equal(answer(), 2);
  assert.equal(answer(), 2);
});
