import assert from 'node:assert/strict';
import { createHash, randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import { randomBytes, randomHex } from '../../../vmm/host/random.ts';
import { sha256 } from '../../../vmm/host/sha256.ts';

test('sha256 is that of node:crypto, for texts and for parts of larger buffers', () => {
  const bytes = randomFillSync(new Uint8Array(100_000));
  for (const data of ['', 'a text – with more than ASCII', bytes, bytes.subarray(3, 1000)]) {
    assert.deepEqual(sha256(data), createHash('sha256').update(data).digest());
  }
});

test('random bytes fill what was asked for, and differ each time', () => {
  assert.equal(randomBytes(0).length, 0);
  assert.match(randomHex(32), /^[0-9a-f]{64}$/);
  const [one, other] = [randomBytes(1000), randomBytes(1000)];
  assert.notDeepEqual(one, other);
  // Each of 256 values is expected four times.
  assert.ok(new Set(one).size > 200);
});
