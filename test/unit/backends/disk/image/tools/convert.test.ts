import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Qcow2Image } from '../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { convertImage } from '../../../../../../vmm/backends/disk/image/tools/convert.ts';
import { convertCompressed } from '../../../../../../vmm/backends/disk/image/tools/convert-compressed.ts';
import { contentOf, qcow2InMemory, rawInMemory } from '../../../../../support/memory-images.ts';

const KIB = 1024;
const MIB = 2 ** 20;
const OPTIONS = {
  parallel: 3,
  sparseBytes: 4096,
  copyHoles: false,
  targetIsZero: true,
  leaveUnallocated: false,
};

function mixedSource() {
  const source = rawInMemory(6 * MIB + 512, [
    [5 * KIB, 3 * KIB, 1],
    [1 * MIB, 2 * MIB, 2],
    [6 * MIB, 512, 3],
  ]);
  source.writeSync(3 * MIB, randomBytes(MIB));
  // Written, but zero.
  source.writeSync(4 * MIB, Buffer.alloc(MIB));
  return source;
}

for (const clusterBytes of [512, 65_536, 2 * MIB]) {
  test(`raw to qcow2 and back, clusters of ${clusterBytes}`, async () => {
    const source = mixedSource();
    const image = qcow2InMemory(source.sizeBytes, { clusterBytes });
    const seen: number[] = [];
    await convertImage([source], image, { ...OPTIONS, onProgress: (done) => seen.push(done) });
    assert.ok(contentOf(image).equals(contentOf(source)));
    assert.equal(image.mapSync(4 * MIB, 512).kind, 'unallocated', 'zeroes take no space');
    assert.deepEqual(
      seen,
      seen.toSorted((a, b) => a - b),
    );
    assert.equal(seen.at(-1), source.sizeBytes);

    const back = rawInMemory(source.sizeBytes);
    await convertImage([image], back, OPTIONS);
    assert.ok(contentOf(back).equals(contentOf(source)));
    assert.equal(back.mapSync(4 * MIB, MIB).kind, 'zero');
    assert.equal(back.mapSync(0, 4 * KIB).kind, 'zero');
  });
}

test('a target that is not zero is cleared where the source is zero', async () => {
  const source = mixedSource();
  for (const target of [
    rawInMemory(8 * MIB, [[0, 8 * MIB, 9]]),
    qcow2InMemory(8 * MIB, {}, rawInMemory(8 * MIB, [[0, 8 * MIB, 9]])),
  ]) {
    await convertImage([source], target, { ...OPTIONS, targetIsZero: false });
    const expected = Buffer.concat([contentOf(source), Buffer.alloc(2 * MIB - 512, 9)]);
    assert.ok(contentOf(target).equals(expected), target.format);
  }
});

test('with nothing looked for and no holes, everything is written', async () => {
  const target = rawInMemory(6 * MIB + 512);
  await convertImage([mixedSource()], target, { ...OPTIONS, sparseBytes: 0, copyHoles: true });
  assert.equal(target.mapSync(0, target.sizeBytes).length, target.sizeBytes);
  assert.equal(target.mapSync(0, target.sizeBytes).kind, 'data');
});

test('only the source’s own data is copied to a target with the backing image’s content', async () => {
  const base = rawInMemory(2 * MIB, [[0, 2 * MIB, 7]]);
  const source = qcow2InMemory(2 * MIB, {}, base);
  source.writeSync(64 * KIB, Buffer.alloc(64 * KIB, 8));
  source.writeZeroesSync(128 * KIB, 64 * KIB, true);
  const target = qcow2InMemory(2 * MIB, {}, base);
  await convertImage([source], target, { ...OPTIONS, targetIsZero: false, leaveUnallocated: true });
  assert.ok(contentOf(target).equals(contentOf(source)));
  assert.equal(target.mapSync(0, 512).kind, 'unallocated');
  assert.equal(target.mapSync(128 * KIB, 512).kind, 'zero');
});

test('a write that fails ends it, and so does the signal; nothing is being read then', async () => {
  const source = mixedSource();
  let underWay = 0;
  const read = source.read.bind(source);
  source.read = async (offset, bytes) => {
    underWay++;
    await new Promise((resolve) => setImmediate(resolve));
    await read(offset, bytes);
    underWay--;
  };
  const full = rawInMemory(source.sizeBytes);
  let writes = 0;
  full.writeSync = () => {
    writes++;
    if (writes === 3) throw new Error('disk full');
  };
  await assert.rejects(convertImage([source], full, OPTIONS), /disk full/);
  assert.equal(underWay, 0);

  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error('enough'));
  const options = { ...OPTIONS, onProgress, signal: controller.signal };
  const target = rawInMemory(source.sizeBytes);
  await assert.rejects(convertImage([source], target, options), /enough/);
  assert.equal(underWay, 0);
});

test('a source that is cut off meanwhile is an error, and not zeroes', async () => {
  const convertCut = async (convert: typeof convertImage, cut: 'top' | 'backing') => {
    const base = rawInMemory(4 * MIB, [[0, 4 * MIB, 7]]);
    const source = qcow2InMemory(4 * MIB, {}, base);
    source.writeSync(0, Buffer.alloc(2 * MIB, 8));
    source.flushSync();
    const { file } = cut === 'top' ? source : base;
    const onProgress = () => file.truncateSync(file.sizeBytes() - 512);
    const target = qcow2InMemory(4 * MIB);
    await convert([source], target, { ...OPTIONS, onProgress });
  };
  const compressed: typeof convertImage = (sources, target, options) => {
    assert.ok(target instanceof Qcow2Image);
    return convertCompressed(sources, target, { ...options, compression: 'zstd', threads: 2 });
  };
  for (const convert of [convertImage, compressed]) {
    for (const cut of ['top', 'backing'] as const) {
      await assert.rejects(convertCut(convert, cut), {
        code: 'disk-io',
        message: /became shorter while it was read/,
      });
    }
  }
});

for (const compression of ['zlib', 'zstd'] as const) {
  for (const clusterBytes of [512, 65_536, 2 * MIB]) {
    test(`compressed with ${compression}, clusters of ${clusterBytes}`, async () => {
      // Fewer of the small ones: each is a call.
      const source =
        clusterBytes === 512 ? rawInMemory(100 * KIB, [[512, 50 * KIB, 4]]) : mixedSource();
      const image = qcow2InMemory(source.sizeBytes, { clusterBytes, compressionType: compression });
      const options = { ...OPTIONS, compression, threads: 3 };
      await convertCompressed([source], image, options);
      assert.ok(contentOf(image).equals(contentOf(source)));
      assert.equal(image.mapSync(clusterBytes === 512 ? 512 : 0, 512).kind, 'compressed');
    });
  }
}
