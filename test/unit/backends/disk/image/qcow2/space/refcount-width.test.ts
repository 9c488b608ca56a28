import assert from 'node:assert/strict';
import { test } from 'node:test';
import { refcountWidth } from '../../../../../../../vmm/backends/disk/image/qcow2/space/refcount-width.ts';

for (const bits of [1, 2, 4, 8, 16, 32, 64]) {
  test(`${bits}-bit refcounts keep their values beside each other`, () => {
    const width = refcountWidth(bits);
    const view = new DataView(new ArrayBuffer(64));
    const count = (64 * 8) / bits;
    for (let index = 0; index < count; index += 3) width.set(view, index, width.max);
    for (let index = 0; index < count; index++) {
      assert.equal(width.get(view, index), index % 3 === 0 ? width.max : 0);
    }
  });
}

test('the least significant bits of a byte come first', () => {
  const view = new DataView(new ArrayBuffer(8));
  refcountWidth(1).set(view, 1, 1);
  assert.equal(view.getUint8(0), 0b10);
  refcountWidth(4).set(view, 3, 0xa);
  assert.equal(view.getUint8(1), 0xa0);
});

test('wide refcounts are big-endian', () => {
  const view = new DataView(new ArrayBuffer(8));
  refcountWidth(64).set(view, 0, 2 ** 32 + 2);
  assert.deepEqual([...new Uint8Array(view.buffer)], [0, 0, 0, 1, 0, 0, 0, 2]);
});

test('a refcount that is too large is refused', () => {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint32(0, 0x8000_0000);
  assert.throws(() => refcountWidth(64).get(view, 0), { code: 'invalid-disk' });
});
