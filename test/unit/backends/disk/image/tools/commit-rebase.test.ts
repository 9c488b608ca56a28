import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiskImage } from '../../../../../../vmm/backends/disk/image/image.ts';
import { Qcow2Image } from '../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { commitImage } from '../../../../../../vmm/backends/disk/image/tools/commit.ts';
import { mergeDifferences } from '../../../../../../vmm/backends/disk/image/tools/rebase.ts';
import { contentOf, qcow2InMemory, rawInMemory } from '../../../../../support/memory-images.ts';

const KIB = 1024;
const DIFFERENT_FILES = { isSameFile: () => false };

/** Three layers, of which the middle one is the shortest. */
function chain(version: 2 | 3 = 3) {
  const base = qcow2InMemory(1024 * KIB, { version });
  base.writeSync(0, Buffer.alloc(1024 * KIB, 1));
  const middle = qcow2InMemory(512 * KIB, { version }, base);
  middle.writeSync(64 * KIB, Buffer.alloc(100 * KIB, 2));
  middle.writeZeroesSync(256 * KIB, 64 * KIB, true);
  const top = qcow2InMemory(1536 * KIB, { version }, middle);
  top.writeSync(128 * KIB, Buffer.alloc(1 * KIB, 3));
  top.writeZeroesSync(320 * KIB, 64 * KIB, true);
  top.writeSync(1408 * KIB, Buffer.alloc(1 * KIB, 4));
  return { base, middle, top };
}

for (const into of ['middle', 'base'] as const) {
  test(`a commit into the ${into} image: it reads as the top one does, and so does that`, async () => {
    const { top, ...layers } = chain();
    const before = contentOf(top);
    const target = layers[into];
    await commitImage(top, target, { parallel: 4 });
    assert.ok(contentOf(target).equals(before));
    assert.ok(contentOf(top).equals(before));
    if (into === 'base') return;
    top.emptySync();
    assert.equal(top.mapSync(0, top.sizeBytes).kind, 'unallocated');
    assert.ok(contentOf(top).equals(before));
  });
}

test('a commit keeps the data of a larger base past the image’s end', async () => {
  const base = qcow2InMemory(256 * KIB);
  base.writeSync(0, Buffer.alloc(256 * KIB, 1));
  const top = qcow2InMemory(100 * KIB, {}, base);
  top.writeSync(96 * KIB, Buffer.alloc(4 * KIB, 2));
  await commitImage(top, base, { parallel: 4 });
  const expected = Buffer.alloc(256 * KIB, 1).fill(2, 96 * KIB, 100 * KIB);
  assert.ok(contentOf(base).equals(expected));
});

test('an image that is not in the chain is refused as base', async () => {
  const { top } = chain();
  await assert.rejects(commitImage(top, qcow2InMemory(512), { parallel: 1 }), {
    code: 'invalid-config',
  });
});

/** The same file on another backing image. */
function onto(image: Qcow2Image, backing: DiskImage | undefined): Qcow2Image {
  image.flushSync();
  return Qcow2Image.open(image.file, { readOnly: true, backing });
}

for (const version of [2, 3] as const) {
  test(`version ${version}: once merged, an image reads the same on its new backing image`, async () => {
    const other = rawInMemory(700 * KIB, [
      [0, 64 * KIB, 1],
      [600 * KIB, 100 * KIB, 9],
    ]);
    for (const fresh of [chain(version).base, other, undefined]) {
      const { top } = chain(version);
      const before = contentOf(top);
      await mergeDifferences(top, fresh, DIFFERENT_FILES);
      assert.ok(contentOf(top).equals(before), 'on the old one');
      assert.ok(contentOf(onto(top, fresh)).equals(before), 'on the new one');
    }
  });

  test(`version ${version}: an image that stood by itself hides its new backing image`, async () => {
    const image = qcow2InMemory(512 * KIB, { version });
    image.writeSync(0, Buffer.alloc(64 * KIB, 5));
    const before = contentOf(image);
    const fresh = rawInMemory(512 * KIB, [[100 * KIB, 300 * KIB, 6]]);
    await mergeDifferences(image, fresh, DIFFERENT_FILES);
    assert.ok(contentOf(onto(image, fresh)).equals(before));
  });
}

test('clusters that do not differ are not merged', async () => {
  const old = rawInMemory(512 * KIB, [[0, 512 * KIB, 1]]);
  const fresh = rawInMemory(512 * KIB, [
    [0, 512 * KIB, 1],
    [200 * KIB, 1, 2],
  ]);
  const image = qcow2InMemory(512 * KIB, {}, old);
  await mergeDifferences(image, fresh, DIFFERENT_FILES);
  assert.equal(image.mapSync(0, 512).kind, 'unallocated');
  assert.equal(image.mapSync(192 * KIB, 512).kind, 'data');
  assert.equal(image.mapSync(256 * KIB, 512).kind, 'unallocated');
});
