import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Qcow2Image } from '../../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { Qcow2InMemory } from '../../../../../../support/qcow2-in-memory.ts';

const MIB = 2 ** 20;

let images: Qcow2InMemory;
beforeEach(() => {
  images = new Qcow2InMemory();
});
afterEach(() => images.remove());

async function opened(size: number, ...options: string[]) {
  const file = await images.create(size, ...options);
  return { file, image: Qcow2Image.open(file, { readOnly: false, backing: undefined }) };
}

for (const options of [['cluster_size=512'], ['compat=0.10'], ['extended_l2=on']]) {
  test(`an image and its L1 table grow, and new space reads as zeroes: ${options}`, async () => {
    const { file, image } = await opened(MIB + 512, ...options);
    image.writeSync(MIB, new Uint8Array(512).fill(1));
    image.resizeSync(40 * MIB);
    image.writeSync(30 * MIB, new Uint8Array(512).fill(2));
    assert.equal(image.sizeBytes, 40 * MIB);
    image.close();
    const expected = new Uint8Array(40 * MIB).fill(1, MIB, MIB + 512);
    await images.assertSound(file, expected.fill(2, 30 * MIB, 30 * MIB + 512));
  });

  test(`an image shrinks, and its file with it: ${options}`, async () => {
    const { file, image } = await opened(6 * MIB, ...options);
    image.writeSync(0, new Uint8Array(6 * MIB).fill(1));
    image.resizeSync(MIB + 1024);
    assert.ok(file.sizeBytes() < 2 * MIB, String(file.sizeBytes()));
    await images.assertSound(file, new Uint8Array(MIB + 1024).fill(1));
    image.resizeSync(3 * MIB);
    image.writeSync(2 * MIB, Uint8Array.of(5));
    image.close();
    const expected = new Uint8Array(3 * MIB).fill(1, 0, MIB + 1024);
    expected[2 * MIB] = 5;
    await images.assertSound(file, expected);
  });
}

test('new space hides a larger backing image', async () => {
  await images.create(2 * MIB);
  const backing = Qcow2Image.open(images.qemuIo('write -P 7 0 2M'), {
    readOnly: true,
    backing: undefined,
  });
  for (const options of ['compat=1.1', 'compat=0.10']) {
    const file = await images.create(MIB, options);
    const image = Qcow2Image.open(file, { readOnly: false, backing });
    image.resizeSync(2 * MIB);
    const content = new Uint8Array(2 * MIB);
    image.readSync(0, content);
    assert.deepEqual(content, new Uint8Array(2 * MIB).fill(7, 0, MIB));
  }
});

test('the tail of the last cluster is zero after it grows, regardless of its content', async () => {
  const { file, image } = await opened(65_536);
  image.writeSync(0, new Uint8Array(65_536).fill(9));
  image.resizeSync(1024);
  image.resizeSync(65_536);
  image.close();
  await images.assertSound(file, new Uint8Array(65_536).fill(9, 0, 1024));
});

test('a raw external data file is as long as the disk', async () => {
  const file = await images.create(MIB, images.dataFileOption, 'data_file_raw=on');
  const dataFile = images.loadData();
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined, dataFile });
  image.resizeSync(2 * MIB);
  assert.equal(dataFile.sizeBytes(), 2 * MIB);
  image.resizeSync(MIB / 2);
  assert.equal(dataFile.sizeBytes(), MIB / 2);
});

test('impossible sizes are refused', async () => {
  const { image } = await opened(MIB, 'cluster_size=512');
  for (const size of [-512, 1000, 0.5, 2 ** 60]) {
    assert.throws(() => image.resizeSync(size), { code: 'invalid-config' });
  }
});

test('a version 2 image with snapshots keeps its size', async () => {
  const { image } = await opened(MIB, 'compat=0.10');
  image.metadata.header.update({ snapshotCount: 1, snapshotsOffset: 65_536 * 10 });
  assert.throws(() => image.resizeSync(2 * MIB), { code: 'invalid-config' });
});
