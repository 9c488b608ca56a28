import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainRunAt } from '../../../../../../vmm/backends/disk/image/chain-run.ts';
import { FileHoles } from '../../../../../../vmm/backends/disk/image/tools/chain-map.ts';
import { compareImages } from '../../../../../../vmm/backends/disk/image/tools/compare.ts';
import { copyPlan } from '../../../../../../vmm/backends/disk/image/tools/copy-plan.ts';
import { qcow2InMemory } from '../../../../../support/memory-images.ts';

const KIB = 1024;

/** Four clusters that are reserved, the second with content. */
function preallocated() {
  const image = qcow2InMemory(256 * KIB);
  image.prepareWriteSync(0, 256 * KIB);
  image.flushSync();
  image.writeSync(64 * KIB, Buffer.alloc(64 * KIB, 1));
  return image;
}

test('a data run is divided where its file has holes', () => {
  const image = preallocated();
  const parts = [...new FileHoles().partsOf(chainRunAt(image, 0, 256 * KIB))];
  assert.deepEqual(
    parts.map(({ offset, length, isHole }) => [offset / KIB, length / KIB, isHole]),
    [
      [0, 64, true],
      [64, 64, false],
      [128, 128, true],
    ],
  );
});

test('holes of reserved clusters are not copied, and not read to be compared', async () => {
  const image = preallocated();
  const options = { unitBytes: 64 * KIB, chunkBytes: 1024 * KIB, copyHoles: false };
  const plan = [...copyPlan([image], { ...options, leaveUnallocated: false })];
  assert.deepEqual(
    plan.map(({ action, length }) => [action, length / KIB]),
    [
      ['zero', 64],
      ['copy', 64],
      ['zero', 128],
    ],
  );
  let read = 0;
  const plainRead = image.read.bind(image);
  image.read = (offset, target) => {
    read += target.length;
    return plainRead(offset, target);
  };
  assert.equal(await compareImages(image, preallocated(), { strict: true }), undefined);
  assert.equal(read, 64 * KIB);
});

test('ranges past the end of a file are holes, and an incomplete sector is data', () => {
  const image = preallocated();
  const run = chainRunAt(image, 64 * KIB, 64 * KIB);
  image.file.truncateSync(run.fileOffset + 1000);
  const parts = [...new FileHoles().partsOf(run)].map(({ length, isHole }) => [length, isHole]);
  assert.deepEqual(parts, [
    [1024, false],
    [64 * KIB - 1024, true],
  ]);
});
