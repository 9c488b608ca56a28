import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Qcow2Image } from '../../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { Qcow2InMemory } from '../../../../../../support/qcow2-in-memory.ts';

let images: Qcow2InMemory;
beforeEach(() => {
  images = new Qcow2InMemory();
});
afterEach(() => images.remove());

// With clusters of 512 bytes and 64-bit refcounts, a refcount table of one cluster is for 2 MiB.
test('the refcount table grows with the file, more than once', async () => {
  const size = 12 * 2 ** 20;
  const file = await images.create(size, 'cluster_size=512', 'refcount_bits=64');
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined });
  const tables = new Set<number>();
  const expected = Uint8Array.from({ length: size }, (_, index) => (index >> 9) & 0xff);
  for (let offset = 0; offset < size; offset += 100_000) {
    const data = expected.subarray(offset, Math.min(offset + 100_000, size));
    image.writeSync(offset, data);
    tables.add(image.header.refcountTableOffset);
  }
  assert.ok(tables.size > 2, String(tables.size));
  image.close();
  await images.assertSound(file, expected);
});

test('a failure while the table moves ends all writing, and the file stays sound', async () => {
  const size = 4 * 2 ** 20;
  const file = await images.create(size, 'cluster_size=512', 'refcount_bits=64');
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined });
  const data = new Uint8Array(65_536).fill(1);
  image.writeSync(0, data);
  image.flushSync();
  const { datasyncSync } = file;
  file.datasyncSync = () => {
    throw new Error('the disk is gone');
  };
  assert.throws(() => {
    for (let offset = 65_536; offset < size; offset += 65_536) image.writeSync(offset, data);
  }, /the disk is gone/);
  file.datasyncSync = datasyncSync;
  assert.throws(() => image.writeSync(0, data), { code: 'disk-io' });
  assert.throws(() => image.flushSync(), { code: 'disk-io' });
  image.close();
  const content = new Uint8Array(size);
  Qcow2Image.open(file, { readOnly: true, backing: undefined }).readSync(0, content);
  assert.deepEqual(content, new Uint8Array(size).fill(1, 0, 65_536));
});
