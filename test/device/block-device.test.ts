/** Disks of machines that lie on block devices of the host; QEMU looks at what is on them. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { openDisk } from '../../vmm/backends/disk/machine/open-disk.ts';
import type { OpenDiskOptions } from '../../vmm/backends/disk/machine/open-disk-options.ts';
import { TsvmError } from '../../vmm/errors.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import type { DiskEngine } from '../../vmm/kvm/queue-workers.ts';
import { attachDisk } from '../support/attached-disk.ts';
import {
  type BlockDriver,
  range,
  S_IOERR,
  S_OK,
  T_DISCARD,
  T_FLUSH,
} from '../support/block-driver.ts';
import { engines, pattern, temporaryFolder } from '../support/disk-fixtures.ts';
import { patchFile } from '../support/disk-images.ts';
import { DiskTraffic } from '../support/disk-traffic.ts';
import { loopDevice, noLoopDevices } from '../support/loop-device.ts';
import { assertHolds, assertSound } from '../support/qemu-content.ts';
import { qemuImgOutput } from '../support/qemu-img.ts';
import { Random } from '../support/random.ts';
import { runTsvm } from '../support/tsvm-process.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const KIB = 1024;
const MIB = 2 ** 20;
const CLUSTER = 64 * KIB;
const DISK = 4 * MIB;
const DEVICE = 16 * MIB;
const SEED = Number(process.env['SEED'] ?? 1);
const BATCHES = Number(process.env['BATCHES'] ?? 20);
const skip = noLoopDevices();

let names = 0;
const newPath = () => join(folder.path, `file${names++}`);

function open(path: string, options: Partial<OpenDiskOptions> = {}) {
  return openDisk(path, {
    format: 'qcow2',
    readOnly: false,
    overlay: false,
    backing: 'allow',
    hostFiles: hostFiles(),
    warn: () => {},
    ...options,
  });
}

async function attach(
  context: TestContext,
  path: string,
  { engine = 'threads', ...options }: Partial<OpenDiskOptions> & { engine?: DiskEngine } = {},
) {
  return attachDisk(context, await open(path, options), engine);
}

async function create(path: string, options: string, bytes = DISK): Promise<void> {
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, path, `${bytes}`);
}

async function tsvmImage(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await runTsvm(['image', ...args]);
  assert.equal(code, 0, stderr);
}

/** Random requests, all of which are answered as they should be; answers what the disk then holds. */
async function traffic(driver: BlockDriver, content: Uint8Array): Promise<Uint8Array> {
  const requests = new DiskTraffic(driver, content, new Random(SEED));
  for (let batch = 0; batch < BATCHES; batch++) await requests.batch(8);
  await requests.compare();
  assert.deepEqual(driver.scriptErrors, []);
  return requests.model;
}

const flush = async (driver: BlockDriver) => (await driver.request({ type: T_FLUSH })).status;

/** Makes an empty image on a device. */
const IMAGES: Readonly<Record<string, (path: string) => Promise<void>>> = {
  'an image': (path) => create(path, 'compat=1.1'),
  'an image of our own': (path) => tsvmImage('create', '-q', '-f', 'qcow2', path, `${DISK}`),
  'version 2': (path) => create(path, 'compat=0.10'),
  'clusters of 512 bytes': (path) => create(path, 'cluster_size=512'),
  'clusters of 2 MiB': (path) => create(path, 'cluster_size=2M'),
  'extended L2 entries': (path) => create(path, 'extended_l2=on,cluster_size=16k'),
  'lazy refcounts': (path) => create(path, 'lazy_refcounts=on'),
  // Not QEMU's: it takes the device to be zero.
  'preallocated metadata': (path) =>
    tsvmImage(...['create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path, `${DISK}`]),
};

for (const { engine, skip: noEngine } of engines()) {
  const options = { skip: skip || noEngine };
  for (const [name, make] of Object.entries(IMAGES)) {
    test(`${name}, ${engine}: random requests, seed ${SEED}`, options, async (context) => {
      const { path } = loopDevice(context, { sizeBytes: DEVICE });
      await make(path);
      const { driver, close } = await attach(context, path, { engine });
      const content = await traffic(driver, new Uint8Array(DISK));
      await close();
      await assertHolds(path, content);
    });
  }

  for (const sectorBytes of [512, 4096]) {
    test(
      `raw, sectors of ${sectorBytes}, ${engine}: random requests, seed ${SEED}`,
      options,
      async (context) => {
        const { path } = loopDevice(context, { sizeBytes: DISK, sectorBytes });
        const { driver, close } = await attach(context, path, { format: 'raw', engine });
        const content = await traffic(driver, readFileSync(path));
        await close();
        assert.ok(readFileSync(path).equals(content));
      },
    );
  }
}

test(`clusters smaller than a sector: random requests, seed ${SEED}`, { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: DEVICE, sectorBytes: 4096 });
  await create(path, 'cluster_size=1k');
  const { driver, close } = await attach(context, path);
  const content = await traffic(driver, new Uint8Array(DISK));
  await close();
  await assertHolds(path, content);
});

test(`compressed clusters: random requests, seed ${SEED}`, { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: DEVICE });
  const source = loopDevice(context, { sizeBytes: DISK });
  await create(path, 'cluster_size=4k');
  await qemuImgOutput('convert', '-n', '-c', '-f', 'raw', '-O', 'qcow2', source.path, path);
  const { driver, close } = await attach(context, path);
  const content = await traffic(driver, readFileSync(source.path));
  await close();
  await assertHolds(path, content);
});

for (const clusterBytes of [512, CLUSTER]) {
  test(`previous content of the device is never visible: clusters of ${clusterBytes}`, {
    skip,
  }, async (context) => {
    const { path } = loopDevice(context, { sizeBytes: DEVICE });
    await create(path, `cluster_size=${clusterBytes}`, 8 * MIB);
    const content = new Uint8Array(8 * MIB);
    // The second time, the image has been opened anew: its end is somewhere in the device.
    for (const start of [0, 4 * MIB]) {
      const { driver, close } = await attach(context, path);
      for (const into of [0, CLUSTER + 512, 7 * CLUSTER - 512, 12 * CLUSTER - 1024]) {
        const data = pattern(1024, into);
        content.set(data, start + into);
        assert.equal((await driver.write((start + into) / 512, data)).status, S_OK);
      }
      const { data } = await driver.read(start / 512, MIB);
      assert.ok(Buffer.from(data).equals(content.subarray(start, start + MIB)));
      await close();
    }
    await assertHolds(path, content);
  });
}

// Refcount blocks of clusters of 512 bytes and 4 KiB end where the device does.
for (const options of [
  'cluster_size=512',
  'cluster_size=4k',
  'cluster_size=4k,lazy_refcounts=on',
  'cluster_size=64k',
]) {
  test(`a device that becomes full, ${options}`, { skip }, async (context) => {
    const { path } = loopDevice(context, { sizeBytes: 8 * MIB });
    await create(path, options, 16 * MIB);
    const { driver, close } = await attach(context, path);
    const content = new Uint8Array(16 * MIB);
    const write = async (offset: number) => {
      const data = pattern(CLUSTER, offset);
      const { status } = await driver.write(offset / 512, data);
      // A write that fails may have done a part of its work.
      content.set(status === S_OK ? data : await readParts(driver, offset, data), offset);
      return status;
    };
    let end = 0;
    while ((await write(end)) === S_OK) end += CLUSTER;
    assert.ok(end > 7 * MIB, `only ${end} bytes were written`);
    assert.equal(await write(end + MIB), S_IOERR);
    assert.equal(driver.scriptErrors.length, 2);
    for (const error of driver.scriptErrors) {
      assert.match(String(error), /loop\d+ is full: the image needs a larger block device/);
    }
    assert.equal(await flush(driver), S_OK);
    assert.equal(await write(2 * CLUSTER), S_OK, 'what has a place can be written');
    // Space that is given back can be used again.
    const discarded = range((4 * CLUSTER) / 512, (4 * CLUSTER) / 512);
    await driver.request({ type: T_DISCARD, out: [discarded] });
    content.fill(0, 4 * CLUSTER, 8 * CLUSTER);
    assert.equal(await flush(driver), S_OK);
    assert.equal(await write(end + MIB), S_OK);
    assert.equal(await flush(driver), S_OK);
    await close();
    await assertHolds(path, content);
  });
}

/** Reads where `data` should be; each sector is zero, or has what it should. */
async function readParts(driver: BlockDriver, offset: number, data: Uint8Array) {
  const { data: found } = await driver.read(offset / 512, data.length);
  for (let at = 0; at < data.length; at += 512) {
    const sector = Buffer.from(found.subarray(at, at + 512));
    const isZero = sector.every((byte) => byte === 0);
    assert.ok(isZero || sector.equals(data.subarray(at, at + 512)), `the sector at ${offset + at}`);
  }
  return found;
}

test('clusters at the end of the device that are not all there', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: 5 * CLUSTER + 4096 });
  await create(path, 'compat=1.1');
  // Zeroes get an L2 table, whose first entry then names the device's last, incomplete cluster.
  const io = spawnSync('qemu-io', ['-f', 'qcow2', '-c', 'write -z 0 64k', path]);
  assert.equal(io.status, 0);
  patchFile(path, [
    [4 * CLUSTER, (1n << 63n) | BigInt(5 * CLUSTER)],
    [2 * CLUSTER + 10, Uint8Array.of(0, 1)],
  ]);
  await assertSound(path);
  const { driver } = await attach(context, path);
  assert.equal((await driver.write(0, pattern(4096, 1))).status, S_OK);
  assert.deepEqual((await driver.read(0, 4096)).data, pattern(4096, 1));
  assert.deepEqual((await driver.read(8, 4096)).data, new Uint8Array(4096));
  assert.equal((await driver.write(8, pattern(4096, 1))).status, S_IOERR);
  assert.match(String(driver.scriptErrors[0]), /ENOSPC.* must be larger/);
});

test(`a raw external data file that is a device: random requests, seed ${SEED}`, {
  skip,
}, async (context) => {
  for (const maker of ['QEMU', 'tsvm']) {
    // tsvm supports an incomplete last cluster, after which nothing can be written. QEMU does not.
    const bytes = maker === 'QEMU' ? DISK : DISK + 512;
    const device = loopDevice(context, { sizeBytes: bytes });
    const path = newPath();
    const options = `data_file=${device.path},data_file_raw=on`;
    if (maker === 'QEMU') await create(path, options, bytes);
    else await tsvmImage('create', '-q', '-f', 'qcow2', '-o', options, path, `${bytes}`);
    const before = readFileSync(device.path);
    // With QEMU, what the device had becomes the disk's content.
    assert.equal(
      before.every((byte) => byte === 0),
      maker === 'tsvm',
    );
    const { driver, close } = await attach(context, path);
    const content = await traffic(driver, before);
    await close();
    assert.ok(readFileSync(device.path).equals(content));
    await assertHolds(path, content);
  }
});

test(`an external data file that is a device, not raw: random requests, seed ${SEED}`, {
  skip,
}, async (context) => {
  const bytes = DISK + 512;
  const device = loopDevice(context, { sizeBytes: bytes });
  const path = newPath();
  await create(path, `data_file=${device.path}`, bytes);
  const { driver, close } = await attach(context, path);
  const last = bytes / 512 - 1;
  assert.equal((await driver.write(last, pattern(512, 1))).status, S_OK);
  const content = new Uint8Array(bytes);
  content.set(pattern(512, 1), last * 512);
  await traffic(driver, content);
  await close();
  await assertHolds(path, content);
});

test('a device that is too small for the disk is refused as data file', {
  skip,
}, async (context) => {
  const device = loopDevice(context, { sizeBytes: DISK });
  const path = newPath();
  const data = newPath();
  await create(path, `data_file=${data},data_file_raw=on`, 2 * DISK);
  await qemuImgOutput('amend', '-f', 'qcow2', '-o', `data_file=${device.path}`, path);
  await assert.rejects(open(path), /loop\d+ has 4194304 bytes, and 8388608 are needed/);
});

test('an overlay leaves a read-only device alone', { skip }, async (context) => {
  for (const format of ['raw', 'qcow2'] as const) {
    const made = loopDevice(context, { sizeBytes: DEVICE });
    if (format === 'qcow2') await create(made.path, 'compat=1.1');
    const before = readFileSync(made.path);
    const { path } = loopDevice(context, { sizeBytes: DEVICE, content: before, readOnly: true });
    const { driver, close } = await attach(context, path, { format, overlay: true });
    await traffic(driver, format === 'raw' ? readFileSync(path) : new Uint8Array(DISK));
    await close();
    assert.ok(readFileSync(path).equals(before));
  }
});

test('a read-only device is read, and not opened for writing', { skip }, async (context) => {
  for (const format of ['raw', 'qcow2'] as const) {
    const made = loopDevice(context, { sizeBytes: DEVICE });
    if (format === 'qcow2') await tsvmImage('create', '-q', '-f', format, made.path, '4M');
    const content = readFileSync(made.path);
    const { path } = loopDevice(context, { sizeBytes: DEVICE, content, readOnly: true });
    await assert.rejects(open(path, { format }), /is a read-only block device: .* with "ro"/);
    const { driver } = await attach(context, path, { format, readOnly: true });
    const { status, data } = await driver.read(8, 4096);
    assert.equal(status, S_OK);
    const expected = format === 'raw' ? content.subarray(4096, 8192) : new Uint8Array(4096);
    assert.ok(Buffer.from(data).equals(expected));
    assert.equal((await driver.write(8, pattern(512, 1))).status, S_IOERR);
  }
});

/** Why a device cannot be opened now; undefined when it can. */
async function refusal(path: string, readOnly: boolean): Promise<TsvmError | undefined> {
  try {
    (await open(path, { format: 'raw', readOnly })).close();
    return undefined;
  } catch (error) {
    assert.ok(error instanceof TsvmError, String(error));
    return error;
  }
}

test('a device has one writer, or readers', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: MIB });
  const writer = await open(path, { format: 'raw' });
  for (const readOnly of [false, true]) {
    const error = await refusal(path, readOnly);
    assert.equal(error?.code, 'disk-locked');
    assert.match(error.message, /loop\d+ is in use by this process: a disk has one writer/);
  }
  writer.close();
  const reader = await open(path, { format: 'raw', readOnly: true });
  assert.equal(await refusal(path, true), undefined);
  assert.equal((await refusal(path, false))?.code, 'disk-locked');
  reader.close();
  assert.equal(await refusal(path, false), undefined);
});

test('a device that the host has mounted is not written', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: MIB });
  // As a mount has it: exclusively, without a lock.
  const fd = openSync(path, constants.O_RDONLY | constants.O_EXCL);
  const error = await refusal(path, false);
  closeSync(fd);
  assert.equal(error?.code, 'disk-locked');
  assert.match(error.message, /in use by the host, which may have it mounted/);
});

test('a device is shared with QEMU as a file is', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: MIB });
  const qemuOpens = (...mode: readonly string[]) =>
    spawnSync('qemu-io', ['-f', 'raw', ...mode, '-c', 'read 0 512', path]).status === 0;
  const writer = await open(path, { format: 'raw' });
  assert.deepEqual([qemuOpens(), qemuOpens('-r')], [false, false]);
  writer.close();
  const holder = await holdWithQemu(path);
  const error = await refusal(path, true);
  assert.match(error?.message ?? '', new RegExp(`process ${holder.pid} \\(qemu-io\\)`));
  assert.equal((await refusal(path, false))?.code, 'disk-locked');
  holder.kill();
  await once(holder, 'exit');
  assert.equal(await refusal(path, false), undefined);
});

/** Holds it open for writing; it is ready once it has read a sector. */
async function holdWithQemu(path: string): Promise<ChildProcess> {
  const holder = spawn('qemu-io', ['-f', 'raw', path], { stdio: ['pipe', 'pipe', 'inherit'] });
  holder.stdin.write('read 0 512\n');
  let output = '';
  for await (const chunk of holder.stdout) {
    output += String(chunk);
    if (output.includes('512/512')) break;
  }
  return holder;
}
