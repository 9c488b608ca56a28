import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigSpace } from '../../../../vmm/devices/virtio/config-space.ts';

test('fields are little-endian and read in any natural width', () => {
  const config = new ConfigSpace(16);
  config.set({ offset: 0, width: 8 }, 2 ** 40 + 0x01020304);
  config.set({ offset: 8, width: 2 }, 0xbeef);
  config.set({ offset: 10, width: 1 }, 0x7f);
  config.set({ offset: 12, width: 4 }, 0xfedc_ba98);
  assert.equal(config.read(0, 4), 0x01020304);
  assert.equal(config.read(4, 4), 0x100);
  assert.equal(config.read(0, 1), 4);
  assert.equal(config.read(2, 2), 0x0102);
  assert.equal(config.read(8, 2), 0xbeef);
  assert.equal(config.read(10, 1), 0x7f);
  assert.equal(config.read(12, 4), 0xfedc_ba98);
});

test('unaligned, wide and outside reads are none', () => {
  const config = new ConfigSpace(6);
  const none: [number, number][] = [
    [1, 2],
    [2, 4],
    [0, 8],
    [0, 3],
    [6, 1],
    [4, 4],
    [4096, 1],
  ];
  for (const [offset, width] of none) {
    assert.equal(config.read(offset, width), undefined, `${offset}, ${width}`);
  }
});

test('every change of a field changes the generation', () => {
  const config = new ConfigSpace(8);
  const before = config.generation;
  config.set({ offset: 0, width: 4 }, 1);
  assert.notEqual(config.generation, before);
});
