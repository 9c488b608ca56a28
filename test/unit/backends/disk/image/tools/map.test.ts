import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiskImage } from '../../../../../../vmm/backends/disk/image/image.ts';
import { mapEntries } from '../../../../../../vmm/backends/disk/image/tools/map.ts';
import { qcow2InMemory, rawInMemory } from '../../../../../support/memory-images.ts';

const KIB = 1024;

function map(image: DiskImage, start = 0, length = image.sizeBytes): string[] {
  return [...mapEntries(image, start, length)].map(
    ({ start, length, depth, present, zero, data }) =>
      `${start / KIB}+${length / KIB} depth ${depth}` +
      `${present ? ' present' : ''}${zero ? ' zero' : ''}${data ? ' data' : ''}`,
  );
}

test('each layer tells of what it decides, and what belongs together is one entry', () => {
  const base = rawInMemory(256 * KIB, [[0, 128 * KIB, 1]]);
  const top = qcow2InMemory(512 * KIB, {}, base);
  top.writeSync(64 * KIB, Buffer.alloc(64 * KIB, 2));
  top.writeSync(128 * KIB, Buffer.alloc(64 * KIB, 3));
  top.writeZeroesSync(192 * KIB, 64 * KIB, true);
  assert.deepEqual(map(top), [
    '0+64 depth 1 present data',
    '64+128 depth 0 present data',
    '192+64 depth 0 present zero',
    '256+256 depth 0 zero',
  ]);
  assert.deepEqual(map(top, 100 * KIB, 50 * KIB), ['100+50 depth 0 present data']);
});

test('clusters that were only reserved are zero though they have a place', () => {
  const image = qcow2InMemory(256 * KIB);
  image.prepareWriteSync(0, 256 * KIB);
  image.flushSync();
  image.writeSync(64 * KIB, Buffer.alloc(64 * KIB, 1));
  const [first, second, third] = [...mapEntries(image, 0, image.sizeBytes)];
  assert.deepEqual([first?.zero, first?.data, first?.length], [true, true, 64 * KIB]);
  assert.deepEqual([second?.zero, second?.data, second?.length], [false, true, 64 * KIB]);
  assert.deepEqual([third?.zero, third?.data, third?.length], [true, true, 128 * KIB]);
  assert.equal(second?.offset, (first?.offset ?? 0) + 64 * KIB);
});
