/** A qcow2 image as a machine's disk, with the native data plane; QEMU makes it and looks at it. */
import assert from 'node:assert/strict';
import {
  closeSync,
  copyFileSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closeImage, openImage } from '../../vmm/backends/disk/image/open-image.ts';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { ImageDisk } from '../../vmm/backends/disk/machine/image-disk.ts';
import { openDisk } from '../../vmm/backends/disk/machine/open-disk.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import { attachDisk } from '../support/attached-disk.ts';
import { S_IOERR, S_OK, T_FLUSH } from '../support/block-driver.ts';
import { engines, pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { DiskTraffic } from '../support/disk-traffic.ts';
import { assertHolds } from '../support/qemu-content.ts';
import { qemuCheck, qemuImgOutput } from '../support/qemu-img.ts';
import { Random } from '../support/random.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const MIB = 2 ** 20;
const SIZE = 4 * MIB;
const SEED = Number(process.env['SEED'] ?? 1);
/** Of a disk under load, each with a thread. */
const QUEUES = 3;
const BATCHES = Number(process.env['BATCHES'] ?? 60);

let names = 0;
const newPath = () => join(folder.path, `image${names++}`);

/** A raw file of random bytes with holes. */
function rawFile(bytes: number, seed: number): string {
  const path = newPath();
  const content = pattern(bytes, seed);
  content.fill(0, bytes / 4, bytes / 2);
  writeFileSync(path, content);
  return path;
}

interface Made {
  readonly path: string;
  /** What a guest has to find in it. */
  readonly content: Uint8Array;
}

async function create(options: string, ...more: string[]): Promise<Made> {
  const path = newPath();
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, ...more, path, `${SIZE}`);
  return { path, content: new Uint8Array(SIZE) };
}

async function convert(source: string, options: string, ...more: string[]): Promise<Made> {
  const path = newPath();
  const formats = ['-f', 'raw', '-O', 'qcow2', '-o', options];
  await qemuImgOutput('convert', ...formats, ...more, source, path);
  return { path, content: new Uint8Array(readFileSync(source)) };
}

/** An image over a smaller raw file, whose length is no multiple of a sector. */
async function overRaw(options: string): Promise<Made> {
  const backing = rawFile(SIZE / 2, 5);
  truncateSync(backing, SIZE / 2 - 700);
  const made = await create(options, '-F', 'raw', '-b', backing);
  made.content.set(readFileSync(backing));
  return made;
}

async function overCompressed(options: string): Promise<Made> {
  const backing = await convert(rawFile(SIZE, 6), 'cluster_size=32k', '-c');
  const made = await create(options, '-F', 'qcow2', '-b', backing.path);
  made.content.set(backing.content);
  return made;
}

async function withSnapshot(options: string): Promise<Made> {
  const made = await convert(rawFile(SIZE, 7), options);
  await qemuImgOutput('snapshot', '-c', 'before', made.path);
  return made;
}

const IMAGES: Readonly<Record<string, () => Promise<Made>>> = {
  'an empty image': () => create('compat=1.1'),
  'version 2': () => create('compat=0.10'),
  'clusters of 512 bytes': () => create('cluster_size=512'),
  'clusters of 2 MiB': () => convert(rawFile(SIZE, 8), 'cluster_size=2M'),
  'extended L2 entries': () => create('extended_l2=on'),
  'extended L2 entries over a raw file': () => overRaw('extended_l2=on,cluster_size=16k'),
  'lazy refcounts': () => create('lazy_refcounts=on'),
  'preallocated metadata': () => create('preallocation=metadata'),
  'an external data file': () => create(`data_file=${newPath()}`),
  'a raw external data file': () => create(`data_file=${newPath()},data_file_raw=on`),
  'a smaller raw file below': () => overRaw('cluster_size=64k'),
  'version 2 over a raw file': () => overRaw('compat=0.10,cluster_size=4k'),
  'compressed clusters': () => convert(rawFile(SIZE, 9), 'compat=1.1', '-c'),
  'compressed clusters, zstd': () => convert(rawFile(SIZE, 9), 'compression_type=zstd', '-c'),
  'a compressed image below': () => overCompressed('cluster_size=4k'),
  'a snapshot': () => withSnapshot('compat=1.1'),
};

function openQcow2(path: string, options: { cacheBytes?: number; extentsMax?: number } = {}) {
  const image = openImage(path, {
    format: 'qcow2',
    readOnly: false,
    hostFiles: hostFiles(),
    backing: 'allow',
    ...options,
  });
  assert.ok(image instanceof Qcow2Image);
  return new ImageDisk(image, { temporary: false, close: () => closeImage(image), ...options });
}

for (const { engine, skip } of engines()) {
  for (const [name, make] of Object.entries(IMAGES)) {
    test(`${name}, ${engine}: random requests, seed ${SEED}`, { skip }, async (context) => {
      const { path, content } = await make();
      const { driver, close } = await attachDisk(context, openQcow2(path), engine, QUEUES);
      const traffic = new DiskTraffic(driver, content, new Random(SEED));
      for (let batch = 0; batch < BATCHES; batch++) await traffic.batch(8);
      await traffic.compare();
      assert.deepEqual(driver.scriptErrors, []);
      await close();
      await assertHolds(path, traffic.model);
    });
  }
}

test(`few extents and few tables in memory: random requests, seed ${SEED}`, async (context) => {
  const { path, content } = await create('cluster_size=512');
  const disk = openQcow2(path, { cacheBytes: 2048, extentsMax: 64 });
  const { driver, close } = await attachDisk(context, disk);
  const traffic = new DiskTraffic(driver, content, new Random(SEED));
  for (let batch = 0; batch < BATCHES; batch++) await traffic.batch(4);
  await traffic.compare();
  await close();
  await assertHolds(path, traffic.model);
});

for (const [name, make] of Object.entries({ snapshot: withSnapshot, compressed: overCompressed })) {
  test(`requests of one place at once see no other’s bytes: ${name}, seed ${SEED}`, async (context) => {
    const { path, content } = await make('cluster_size=4k');
    const { driver, close } = await attachDisk(context, openQcow2(path), 'threads', QUEUES);
    const traffic = new DiskTraffic(driver, content, new Random(SEED));
    for (let round = 0; round < BATCHES; round++) await traffic.contend(8);
    await traffic.compare();
    await close();
    await assertHolds(path, traffic.model);
  });
}

for (const format of ['raw', 'qcow2'] as const) {
  test(`an overlay takes the writes of a ${format} disk, which does not change`, async (context) => {
    const raw = rawFile(SIZE - 300, 3);
    const path = format === 'raw' ? raw : (await convert(raw, 'compat=1.1', '-c')).path;
    const before = readFileSync(path);
    const content = new Uint8Array(SIZE);
    content.set(readFileSync(raw));
    const disk = await openDisk(path, {
      format,
      readOnly: false,
      overlay: true,
      backing: 'same-folder',
      hostFiles: hostFiles(),
      warn: () => {},
    });
    const { driver, close } = await attachDisk(context, disk);
    const traffic = new DiskTraffic(driver, content, new Random(SEED));
    for (let batch = 0; batch < BATCHES; batch++) await traffic.batch(8);
    await traffic.compare();
    await close();
    assert.ok(readFileSync(path).equals(before));
  });
}

test('flushed data and its metadata are in the file', async (context) => {
  const { path } = await create('compat=1.1');
  const { driver } = await attachDisk(context, openQcow2(path));
  const content = new Uint8Array(SIZE);
  for (const [round, offset] of [0, 3 * MIB, 64 * 1024, MIB + 512].entries()) {
    const data = pattern(8192, round);
    content.set(data, offset);
    assert.equal((await driver.write(offset / 512, data)).status, S_OK);
    assert.equal((await driver.request({ type: T_FLUSH })).status, S_OK);
    const copy = newPath();
    copyFileSync(path, copy);
    await assertHolds(copy, content);
  }
});

test('a flush is the data plane’s own when no metadata is dirty', async (context) => {
  const { path } = await create('compat=1.1');
  const { driver } = await attachDisk(context, openQcow2(path));
  const asked = () => driver.transport.statistics()['scriptRequests'] ?? 0;
  await driver.write(0, pattern(4096, 1));
  await driver.request({ type: T_FLUSH });
  assert.equal(asked(), 2);
  // The cluster is there now.
  await driver.write(16, pattern(4096, 2));
  await driver.read(8, 512);
  await driver.request({ type: T_FLUSH });
  assert.equal(asked(), 2);
  // A first write claims a cluster from the stock; only the flush records where it is.
  await driver.write(SIZE / 512 - 8, pattern(4096, 3));
  await driver.request({ type: T_FLUSH });
  assert.equal(asked(), 3);
});

test('a few runs are found for many requests at once', async (context) => {
  // Of 1024 clusters each, 8 spans: the whole disk.
  const { path } = await create('cluster_size=512');
  const { driver } = await attachDisk(context, openQcow2(path));
  for (let offset = MIB / 4; offset < SIZE; offset += MIB / 2) {
    assert.equal((await driver.read(offset / 512, 4096)).status, S_OK);
  }
  assert.equal(driver.transport.statistics()['scriptRequests'], 1);
});

const CLUSTER = 65_536;

test('the file ends where it did, or after the last written data', async (context) => {
  for (const tailBytes of [0, 8 * MIB]) {
    const { path } = await create('compat=1.1');
    const sizeBefore = statSync(path).size + tailBytes;
    truncateSync(path, sizeBefore);
    const { driver, close } = await attachDisk(context, openQcow2(path));
    const data = pattern(4096, 1);
    await driver.write(0, data);
    if (tailBytes === 0) assert.ok(statSync(path).size > sizeBefore, 'it grows ahead');
    await close();
    const { size, blocks } = statSync(path);
    const { imageEndOffset } = await qemuCheck(path);
    assert.equal(size, Math.max(imageEndOffset, Math.ceil(sizeBefore / CLUSTER) * CLUSTER));
    assert.ok(blocks * 512 <= imageEndOffset, 'no space is kept for what was not written');
    const content = new Uint8Array(SIZE);
    content.set(data);
    await assertHolds(path, content);
  }
});

test('an invalid table entry fails only the requests that need it', async (context) => {
  const { path, content } = await convert(rawFile(SIZE, 4), 'compat=1.1');
  const map = JSON.parse(await qemuImgOutput('map', '-f', 'qcow2', '--output=json', path));
  assert.equal(map[0].start, 0);
  // The first entry of the first L2 table, which the first L1 entry names.
  const file = readFileSync(path);
  const l1Offset = Number(file.readBigUint64BE(40));
  const l2Offset = Number(file.readBigUint64BE(l1Offset) & 0x00ff_ffff_ffff_fe00n);
  const entry = Buffer.alloc(8);
  entry.writeBigUInt64BE((1n << 63n) | (1n << 40n));
  const fd = openSync(path, 'r+');
  writeSync(fd, entry, 0, 8, l2Offset);
  closeSync(fd);
  const { driver } = await attachDisk(context, openQcow2(path));
  assert.equal((await driver.read(0, 4096)).status, S_IOERR);
  assert.match(String(driver.scriptErrors[0]), /entry 0 of L2 table 0 points to/);
  assert.equal((await driver.write(0, pattern(512, 1))).status, S_IOERR);
  const { status, data } = await driver.read(128, 4096);
  assert.equal(status, S_OK);
  assert.deepEqual(data, content.slice(65_536, 65_536 + 4096));
});

test('bitmaps invalidated by a guest’s write are reported once; reads and temporary overlays keep them', async (context) => {
  const { path } = await create('compat=1.1');
  await qemuImgOutput('bitmap', '--add', path, 'monday');
  for (const { overlay, write, said } of [
    { overlay: false, write: false, said: 0 },
    { overlay: true, write: true, said: 0 },
    { overlay: false, write: true, said: 1 },
    { overlay: false, write: true, said: 0 },
  ]) {
    const warnings: string[] = [];
    const disk = await openDisk(path, {
      format: 'qcow2',
      readOnly: false,
      overlay,
      backing: 'same-folder',
      hostFiles: hostFiles(),
      warn: (message) => warnings.push(message),
    });
    const { driver, close } = await attachDisk(context, disk);
    const traffic = new DiskTraffic(driver, new Uint8Array(disk.sizeBytes), new Random(SEED));
    if (write) await traffic.batch(8);
    else await traffic.compare();
    await close();
    assert.equal(warnings.filter((text) => /bitmaps/.test(text)).length, said);
  }
});
