import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareImages } from '../../../../../../vmm/backends/disk/image/tools/compare.ts';
import { qcow2InMemory, rawInMemory } from '../../../../../support/memory-images.ts';

const KIB = 1024;
const MIB = 2 ** 20;
const LOOSE = { strict: false };
const STRICT = { strict: true };

test('content counts, not how it is stored', async () => {
  const raw = rawInMemory(4 * MIB, [[100 * KIB, 2 * MIB, 1]]);
  const qcow2 = qcow2InMemory(4 * MIB);
  qcow2.writeSync(100 * KIB, Buffer.alloc(2 * MIB, 1));
  assert.equal(await compareImages(raw, qcow2, LOOSE), undefined);
  assert.deepEqual(await compareImages(raw, qcow2, STRICT), { kind: 'allocation', offset: 0 });
  assert.equal(await compareImages(raw, raw, STRICT), undefined);
});

test('the first sector that differs is reported, at any position', async () => {
  const one = rawInMemory(4 * MIB, [[0, 4 * MIB, 1]]);
  for (const at of [0, 511, 512, MIB - 1, MIB, 3 * MIB + 700, 4 * MIB - 1]) {
    const other = rawInMemory(4 * MIB, [
      [0, 4 * MIB, 1],
      [at, 1, 2],
    ]);
    const offset = at - (at % 512);
    assert.deepEqual(await compareImages(one, other, LOOSE), { kind: 'content', offset });
  }
});

test('a hole differs from data, unless that is zero', async () => {
  const hole = qcow2InMemory(MIB);
  const zeroes = rawInMemory(MIB, [[0, MIB, 0]]);
  assert.equal(await compareImages(hole, zeroes, LOOSE), undefined);
  assert.equal(await compareImages(zeroes, hole, LOOSE), undefined);
  zeroes.writeSync(70_000, Buffer.from([1]));
  const expected = { kind: 'content', offset: 70_000 - (70_000 % 512) } as const;
  assert.deepEqual(await compareImages(hole, zeroes, LOOSE), expected);
  assert.deepEqual(await compareImages(zeroes, hole, LOOSE), expected);
});

test('past the end of the shorter image there are zeroes, unless sizes count', async () => {
  const short = rawInMemory(MIB);
  const long = rawInMemory(3 * MIB);
  assert.equal(await compareImages(short, long, LOOSE), undefined);
  assert.deepEqual(await compareImages(short, long, STRICT), { kind: 'size' });
  long.writeSync(2 * MIB, Buffer.from([1]));
  assert.deepEqual(await compareImages(short, long, LOOSE), { kind: 'content', offset: 2 * MIB });
  assert.deepEqual(await compareImages(long, short, LOOSE), { kind: 'content', offset: 2 * MIB });
});
