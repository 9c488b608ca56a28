import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { deflateClusterSync } from '../../../../../../vmm/backends/disk/image/qcow2/map/compression.ts';
import { Qcow2Image } from '../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import type { MemoryImageFile } from '../../../../../support/memory-image-file.ts';
import { Qcow2InMemory } from '../../../../../support/qcow2-in-memory.ts';

let images: Qcow2InMemory;
beforeEach(() => {
  images = new Qcow2InMemory();
});
afterEach(() => images.remove());

function open(
  file: MemoryImageFile,
  options: Partial<Parameters<typeof Qcow2Image.open>[1]> = {},
): Qcow2Image {
  return Qcow2Image.open(file, { readOnly: false, backing: undefined, ...options });
}

function readAll(image: Qcow2Image): Uint8Array {
  const content = new Uint8Array(image.sizeBytes);
  image.readSync(0, content);
  return content;
}

/** Bytes that tell where they belong. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 7 + (index >> 9) + seed) & 0xff);
}

const VARIANTS: readonly (readonly [clusterBytes: number, options: readonly string[]])[] = [
  [65_536, ['compat=0.10']],
  [512, ['refcount_bits=64']],
  [512, ['compat=0.10']],
  [1024, ['refcount_bits=1']],
  [4096, ['refcount_bits=2']],
  [65_536, ['refcount_bits=4']],
  [65_536, ['refcount_bits=8']],
  [65_536, ['lazy_refcounts=on']],
  [2_097_152, ['refcount_bits=32']],
  [16_384, ['extended_l2=on']],
  [131_072, ['extended_l2=on', 'refcount_bits=64']],
];

for (const [clusterBytes, options] of VARIANTS) {
  test(`QEMU reads the written data: clusters of ${clusterBytes}, ${options}`, async () => {
    const sizeBytes = clusterBytes * 40 + 1536;
    const file = await images.create(sizeBytes, `cluster_size=${clusterBytes}`, ...options);
    const image = open(file);
    const expected = new Uint8Array(sizeBytes);
    const write = (offset: number, length: number) => {
      const data = pattern(length, offset);
      image.writeSync(offset, data);
      expected.set(data, offset);
    };
    write(0, 1);
    write(clusterBytes * 3 - 700, 1400);
    write(clusterBytes * 10, clusterBytes * 5);
    image.flushSync();
    write(clusterBytes * 12 + 100, 300);
    write(sizeBytes - 10, 10);
    write(clusterBytes * 9 + 1, clusterBytes * 3);
    assert.deepEqual(readAll(image), expected);
    image.close();
    await images.assertSound(file, expected);
  });
}

test('images of QEMU are read, including compressed clusters of both kinds', async () => {
  for (const type of ['zlib', 'zstd']) {
    await images.create(2 ** 20, `compression_type=${type}`);
    const file = images.qemuIo(
      'write -P 7 100 5000',
      'write -c -P 9 128k 64k',
      'write -c -P 10 192k 64k',
      'write -z 512k 64k',
    );
    const image = open(file, { readOnly: true });
    const expected = new Uint8Array(2 ** 20);
    expected.fill(7, 100, 5100).fill(9, 131_072, 196_608).fill(10, 196_608, 262_144);
    assert.deepEqual(readAll(image), expected);
    const target = new Uint8Array(2 ** 20).fill(1);
    await image.read(0, target);
    assert.deepEqual(target, expected);
  }
});

test('compressed clusters share host clusters, and give them back when the last one goes', async () => {
  const file = await images.create(2 ** 20);
  const image = open(file);
  const expected = new Uint8Array(2 ** 20);
  for (let cluster = 0; cluster < 8; cluster++) {
    const plain = new Uint8Array(65_536).fill(cluster + 1, 100);
    image.writeCompressed(cluster * 65_536, plain, deflateClusterSync('zlib', plain));
    expected.set(plain, cluster * 65_536);
  }
  image.flushSync();
  await images.assertSound(file, expected);
  for (let cluster = 0; cluster < 8; cluster++) {
    image.writeSync(cluster * 65_536 + 5, Uint8Array.of(99));
    expected[cluster * 65_536 + 5] = 99;
  }
  assert.deepEqual(readAll(image), expected);
  image.close();
  await images.assertSound(file, expected);
});

test('with a 1-bit refcount, compressed clusters do not share a cluster', async () => {
  const file = await images.create(2 ** 20, 'refcount_bits=1');
  const image = open(file);
  const plain = new Uint8Array(65_536).fill(5);
  for (const offset of [0, 65_536]) {
    image.writeCompressed(offset, plain, deflateClusterSync('zlib', plain));
  }
  image.close();
  await images.assertSound(file, new Uint8Array(2 ** 20).fill(5, 0, 131_072));
});

test('a write over a backing image keeps the data around it', async () => {
  await images.create(300_000 - (300_000 % 512));
  const backing = open(images.qemuIo('write -P 3 0 200000'), { readOnly: true });
  const file = await images.create(2 ** 20);
  const image = open(file, { backing });
  image.writeSync(1000, Uint8Array.of(1, 2, 3));
  image.writeSync(196_608, pattern(65_536, 1));
  const expected = new Uint8Array(2 ** 20).fill(3, 0, 200_000);
  expected.set([1, 2, 3], 1000);
  expected.set(pattern(65_536, 1), 196_608);
  assert.deepEqual(readAll(image), expected);
  assert.equal(image.mapSync(65_536, 65_536).kind, 'unallocated');
});

test('a prepared range keeps its content, and can be written in place', async () => {
  await images.create(2 ** 20);
  const backing = open(images.qemuIo('write -P 3 0 200000'), { readOnly: true });
  const image = open(await images.create(2 ** 20), { backing });
  const before = readAll(image);
  assert.equal(image.metadataDirty, false);
  image.prepareWriteSync(100_000, 100_000);
  assert.equal(image.metadataDirty, true);
  assert.deepEqual(readAll(image), before);
  const run = image.mapSync(65_536, 196_608);
  assert.deepEqual(
    [run.kind, run.writable, run.length, run.file],
    ['data', true, 196_608, image.file],
  );
  image.flushSync();
  assert.equal(image.metadataDirty, false);
});

test('clusters that are left from before are not read where nothing was written', async () => {
  await images.create(2 ** 20);
  // A free cluster with bytes in it, as a crash leaves it.
  const file = images.qemuIo('write -P 0xee 0 256k');
  const lost = open(file);
  lost.discardSync(0, 262_144);
  lost.flushSync();
  file.writeSync(lost.file.sizeBytes() - 262_144, new Uint8Array(262_144).fill(0xee));
  const image = open(file);
  image.writeSync(10_000, Uint8Array.of(1));
  image.prepareWriteSync(65_536, 65_536);
  const expected = new Uint8Array(2 ** 20);
  expected[10_000] = 1;
  assert.deepEqual(readAll(image), expected);
  image.close();
  await images.assertSound(file, expected);
});

test('asynchronous writes and reads agree with QEMU', async () => {
  const file = await images.create(2 ** 20, 'cluster_size=4096');
  const image = open(file);
  const expected = pattern(2 ** 20, 5);
  const part = 2 ** 16;
  await Promise.all(
    Array.from({ length: 16 }, (_, index) =>
      image.write(index * part, expected.subarray(index * part, (index + 1) * part)),
    ),
  );
  const target = new Uint8Array(2 ** 20);
  await image.read(0, target);
  assert.deepEqual(target, expected);
  await image.flush();
  await images.assertSound(file, expected);
});

test('lazy refcounts: dirty while it is open, right when it is closed', async () => {
  const file = await images.create(2 ** 20, 'lazy_refcounts=on');
  const image = open(file);
  image.writeSync(0, pattern(100_000, 1));
  assert.equal(image.header.dirty, false);
  image.flushSync();
  assert.equal(image.header.dirty, true);
  assert.equal(open(file, { readOnly: false }).needsRepair, true);
  assert.throws(() => open(file).writeSync(0, Uint8Array.of(1)), { code: 'invalid-disk' });
  image.close();
  assert.equal(open(file).needsRepair, false);
  const expected = new Uint8Array(2 ** 20);
  expected.set(pattern(100_000, 1));
  await images.assertSound(file, expected);
});

test('an external data file has each cluster at its guest offset', async () => {
  for (const raw of ['data_file_raw=off', 'data_file_raw=on']) {
    const file = await images.create(2 ** 20, images.dataFileOption, raw);
    const dataFile = images.loadData();
    const image = open(file, { dataFile });
    const expected = new Uint8Array(2 ** 20);
    image.writeSync(0, pattern(70_000, 3));
    expected.set(pattern(70_000, 3));
    image.writeSync(500_000, Uint8Array.of(1, 2));
    expected.set([1, 2], 500_000);
    image.writeZeroesSync(100, 5000, false);
    expected.fill(0, 100, 5100);
    image.discardSync(65_536, 65_536);
    expected.fill(0, 65_536, 131_072);
    assert.deepEqual(readAll(image), expected);
    if (raw === 'data_file_raw=on') assert.deepEqual(dataFile.content(), expected);
    image.close();
    assert.ok(dataFile.closed);
    await images.assertSound(file, expected, dataFile);
  }
});

test('an image with an external data file is not opened without it', async () => {
  const file = await images.create(2 ** 20, images.dataFileOption);
  assert.throws(() => open(file), { code: 'invalid-config' });
});

test('memory stays bounded, and tables that left it are read again', async () => {
  const file = await images.create(2 ** 26, 'cluster_size=512');
  const image = open(file, { cacheBytes: 64 * 1024 });
  const expected = new Uint8Array(2 ** 26);
  for (let offset = 0; offset < 2 ** 26; offset += 2 ** 17) {
    image.writeSync(offset, Uint8Array.of(offset / 2 ** 17 + 1));
    expected[offset] = offset / 2 ** 17 + 1;
  }
  assert.ok(image.cacheBytesUsed < 2 ** 20, String(image.cacheBytesUsed));
  assert.equal(image.metadata.l2.cache.get(0), undefined);
  assert.deepEqual(readAll(image), expected);
  image.close();
  await images.assertSound(file, expected);
});

test('a read-only image writes nothing', async () => {
  const file = await images.create(2 ** 20);
  const image = open(file, { readOnly: true });
  assert.throws(() => image.writeSync(0, Uint8Array.of(1)), { code: 'wrong-state' });
  await assert.rejects(image.write(0, Uint8Array.of(1)), { code: 'wrong-state' });
  await image.flush();
  image.close();
  assert.equal(file.writes, 0);
});

test('a range outside the image is refused', async () => {
  const image = open(await images.create(2 ** 20));
  const data = new Uint8Array(1024);
  assert.throws(() => image.writeSync(2 ** 20 - 512, data), { code: 'invalid-config' });
  assert.throws(() => image.readSync(-1, data), { code: 'invalid-config' });
});

test('bitmaps and unknown autoclear bits are given up by the first write, not by opening', async () => {
  const file = await images.create(2 ** 20);
  const autoclear = () => file.content().slice(88, 96);
  file.writeSync(88, Uint8Array.of(0x40, 0, 0, 0, 0, 0, 0, 0));
  const image = open(file);
  image.readSync(0, new Uint8Array(512));
  assert.deepEqual([...autoclear()], [0x40, 0, 0, 0, 0, 0, 0, 0]);
  image.writeSync(0, Uint8Array.of(1));
  assert.deepEqual([...autoclear()], [0, 0, 0, 0, 0, 0, 0, 0]);
});

test('no extent is writable while bits have to be cleared first', async () => {
  await images.create(2 ** 20);
  const file = images.qemuIo('write 0 64k');
  file.writeSync(88, Uint8Array.of(0x40));
  const image = open(file);
  assert.equal(image.mapSync(0, 65_536).writable, false);
  image.prepareWriteSync(0, 512);
  assert.equal(image.mapSync(0, 65_536).writable, true);
});
