import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isZero, piecesOf } from '../../../../../../vmm/backends/disk/image/tools/zeroes.ts';

test('a single byte that is not zero is found wherever it is', () => {
  const bytes = Buffer.alloc(200_000);
  assert.equal(isZero(bytes, 0, bytes.length), true);
  for (const at of [1, 4095, 65_535, 65_536, 131_073, 199_998]) {
    bytes[at] = 1;
    assert.equal(isZero(bytes, 1, bytes.length), false, `byte ${at}`);
    assert.equal(isZero(bytes, at + 1, bytes.length), true, `after byte ${at}`);
    assert.equal(isZero(bytes, 0, at), true, `before byte ${at}`);
    bytes[at] = 0;
  }
  assert.equal(isZero(bytes, 5, 5), true, 'nothing is zero');
});

test('a buffer is divided at units, and the last one may be short', () => {
  const bytes = Buffer.alloc(10_000);
  const pieces = (unit: number) =>
    [...piecesOf(bytes, unit)].map(({ start, end, zero }) => [start, end, zero]);
  assert.deepEqual(pieces(4096), [[0, 10_000, true]]);
  bytes[4096] = 1;
  assert.deepEqual(pieces(4096), [
    [0, 4096, true],
    [4096, 8192, false],
    [8192, 10_000, true],
  ]);
  assert.deepEqual(pieces(65_536), [[0, 10_000, false]]);
  bytes[9999] = 1;
  assert.deepEqual(pieces(4096), [
    [0, 4096, true],
    [4096, 10_000, false],
  ]);
  assert.deepEqual([...piecesOf(Buffer.alloc(0), 4096)], []);
});
