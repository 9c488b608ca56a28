/** `tsvm image` on block devices, judged by qemu-img. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { openHostFile } from '../../../vmm/backends/disk/file/host-file.ts';
import { hostFiles } from '../../../vmm/host/host-files.ts';
import { pattern } from '../../support/disk-fixtures.ts';
import { fileBytes, patchFile } from '../../support/disk-images.ts';
import { loopDevice, noLoopDevices } from '../../support/loop-device.ts';
import { assertHolds, assertSound, qemuContent } from '../../support/qemu-content.ts';
import { qemuCheck } from '../../support/qemu-img.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
after(() => folder.remove());

const MIB = 2 ** 20;
const CLUSTER = 65_536;
const OVERWRITTEN = 77;
const skip = noLoopDevices();

/** Half of it is zero; its end is in the middle of a cluster. */
const CONTENT = new Uint8Array(6 * MIB + 512);
CONTENT.set(pattern(2 * MIB, 1), MIB);
CONTENT.set(pattern(MIB + 512, 2), 5 * MIB);
writeFileSync(folder.file('source.raw'), CONTENT);

const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Asserts that tsvm refuses a command with a reason and leaves the device unchanged. */
async function refused(device: string, reason: RegExp, ...args: readonly string[]): Promise<void> {
  const before = hash(device);
  const { code, stderr } = await folder.tsvm(args);
  assert.equal(code, 1, args.join(' '));
  assert.match(stderr, reason);
  assert.equal(hash(device), before, `${device} is as it was after ${args.join(' ')}`);
}

/** The first MiB of a qcow2 image. */
async function overwrite(path: string): Promise<void> {
  const pattern = ['--pattern', `${OVERWRITTEN}`];
  await folder.qemuOutput('bench', '-w', ...pattern, '-c', '16', '-s', '64k', '-f', 'qcow2', path);
}

test('create: the same image as by qemu-img', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: 16 * MIB });
  for (const options of ['compat=1.1', 'cluster_size=512,refcount_bits=64', 'compat=0.10']) {
    const create = ['create', '-q', '-f', 'qcow2', '-o', options, path, '32M'];
    const info = ['info', '-f', 'qcow2', path];
    await folder.tsvmOutput(...create);
    assert.equal(
      (await qemuContent(path)).findIndex((byte) => byte !== 0),
      -1,
    );
    await assertSound(path);
    const ours = await folder.qemuOutput(...info);
    assert.equal(await folder.tsvmOutput(...info), ours);
    await folder.qemuOutput(...create);
    assert.equal(await folder.qemuOutput(...info), ours);
  }
});

test('create: preallocated space reads as zeroes', { skip }, async (context) => {
  for (const preallocation of ['metadata', 'falloc', 'full']) {
    const { path } = loopDevice(context, { sizeBytes: 8 * MIB });
    const args = ['create', '-q', '-f', 'qcow2', '-o', `preallocation=${preallocation}`, path];
    await folder.tsvmOutput(...args, '6M');
    await assertHolds(path, new Uint8Array(6 * MIB));
    assert.equal((await qemuCheck(path)).allocatedClusters, (6 * MIB) / CLUSTER);
    const { stderr } = await folder.tsvm([...args, '8M']);
    assert.match(stderr, /loop\d+ is full: the image needs a larger block device/);
  }
});

test('create: nothing is written to a device that is too small', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: CLUSTER * 3 });
  const few =
    /the block device .*loop\d+ has 196608 bytes, and 262144 are needed: use a larger one/;
  await refused(path, few, 'create', '-f', 'qcow2', path, '1M');
  await refused(path, /196608 bytes, and 1048576 are needed/, 'create', '-f', 'raw', path, '1M');
  for (const raw of ['on', 'off']) {
    const options = `data_file=${path},data_file_raw=${raw}`;
    await refused(path, /and 1048576 are needed/, 'create', '-o', options, '%data.qcow2', '1M');
  }
});

test('create: a raw device is not mistaken for its previous format', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: MIB });
  await folder.tsvmOutput('create', '-q', '-f', 'qcow2', path, '1M');
  await folder.tsvmOutput('create', '-q', '-f', 'raw', path, '1M');
  assert.match(await folder.qemuOutput('info', path), /^file format: raw$/m);
});

const WAYS: readonly (readonly string[])[] = [
  [],
  ['-c'],
  ['--compress-type', 'zstd'],
  ['-o', 'cluster_size=512'],
  ['-o', 'extended_l2=on'],
  ['-o', 'compat=0.10'],
  ['-o', 'preallocation=metadata'],
  ['-S', '0'],
];

for (const args of WAYS) {
  test(`convert ${args.join(' ')}: raw to qcow2 on a device`, { skip }, async (context) => {
    const { path } = loopDevice(context, { sizeBytes: 16 * MIB });
    const convert = ['convert', '-q', '-f', 'raw', '-O', 'qcow2', ...args, '%source.raw'];
    await folder.tsvmOutput(...convert, path);
    await assertHolds(path, CONTENT);
    // It needs no more space than a file.
    await folder.tsvmOutput(...convert, '%same.qcow2');
    const [device, file] = [await qemuCheck(path), await qemuCheck(folder.file('same.qcow2'))];
    assert.equal(device.allocatedClusters, file.allocatedClusters);
    assert.equal(device.imageEndOffset, file.imageEndOffset);
  });
}

test('convert: qcow2 to raw on a device', { skip }, async (context) => {
  await folder.tsvmOutput('convert', '-q', '-O', 'qcow2', '%source.raw', '%source.qcow2');
  const { path } = loopDevice(context, { sizeBytes: 8 * MIB });
  const behind = readFileSync(path).subarray(CONTENT.length);
  for (const args of [[], ['-n'], ['-S', '0'], ['-o', 'preallocation=full']]) {
    const { code, stderr } = await folder.tsvm([
      ...['convert', ...args, '-O', 'raw', '%source.qcow2', path],
    ]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /loop\d+ is written in place/);
    const found = readFileSync(path);
    assert.ok(found.subarray(0, CONTENT.length).equals(CONTENT));
    assert.ok(found.subarray(CONTENT.length).equals(behind), 'what follows stays');
    patchFile(path, [[0, pattern(CONTENT.length, 3)]]);
  }
});

test('convert: a device that is too small, or also the source', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: 2 * MIB });
  const few = /2097152 bytes, and 6291968 are needed/;
  for (const args of [[], ['-n']]) {
    await refused(path, few, 'convert', ...args, '-O', 'raw', '%source.raw', path);
  }
  symlinkSync(path, folder.file('link'));
  const itself = /is the source: it cannot also be the target/;
  await refused(path, itself, 'convert', '-O', 'qcow2', path, '%link');
  await refused(path, itself, 'convert', '-O', 'qcow2', '%link', path);
  // The size of a qcow2 image is not known in advance.
  const { code, stderr } = await folder.tsvm(['convert', '-O', 'qcow2', '%source.raw', path]);
  assert.equal(code, 1);
  assert.match(stderr, /loop\d+ is full: the image needs a larger block device/);
  await assertSound(path);
});

test('convert: an external data file that is a device', { skip }, async (context) => {
  for (const raw of ['on', 'off']) {
    const { path } = loopDevice(context, { sizeBytes: CONTENT.length });
    const options = `data_file=${path},data_file_raw=${raw}`;
    await folder.tsvmOutput('convert', '-q', '-o', options, '%source.raw', '%data.qcow2');
    await assertHolds(folder.file('data.qcow2'), CONTENT);
    if (raw === 'on') assert.ok(readFileSync(path).equals(CONTENT));
    const larger = /6291968 bytes, and 7340032 are needed/;
    await refused(path, larger, 'resize', '--backing', 'allow', '%data.qcow2', '7M');
    await assertHolds(folder.file('data.qcow2'), CONTENT);
  }
});

test('snapshot, resize', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: 16 * MIB });
  const run = (verb: string, ...args: string[]) => folder.tsvmOutput(verb, '-f', 'qcow2', ...args);
  await folder.tsvmOutput('convert', '-q', '-O', 'qcow2', '%source.raw', path);
  await run('snapshot', '-c', 'before', path);
  await overwrite(path);
  await run('resize', '--preallocation=full', path, '8M');
  await run('resize', path, '1T');
  await assertSound(path);
  await run('resize', '--shrink', path, '2M');
  const changed = CONTENT.slice(0, 2 * MIB).fill(OVERWRITTEN, 0, MIB);
  await assertHolds(path, changed);
  await run('snapshot', '-a', 'before', path);
  await assertHolds(path, CONTENT);
  await run('snapshot', '-d', 'before', path);
  await assertHolds(path, CONTENT);
});

test('a snapshot, and a larger size, that the device has no room for', {
  skip,
}, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: 6 * CLUSTER });
  await folder.tsvmOutput('create', '-q', '-f', 'qcow2', '-o', 'preallocation=metadata', path, '1');
  for (const args of [['snapshot', '-c', 'one'], ['resize']]) {
    const size = args[0] === 'resize' ? ['1P'] : [];
    const { code, stderr } = await folder.tsvm([...args, '-f', 'qcow2', path, ...size]);
    assert.equal(code, 1, args.join(' '));
    assert.match(stderr, /loop\d+ is full/);
    await folder.tsvmOutput('check', '--repair', '-f', 'qcow2', path);
    await assertHolds(path, new Uint8Array(512));
  }
});

test('a raw device cannot be resized', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: MIB });
  for (const size of ['2M', '512k']) {
    await refused(path, /resize the device itself/, 'resize', '--shrink', '-f', 'raw', path, size);
  }
  await folder.tsvmOutput('resize', '-f', 'raw', path, '1M');
});

test('check --repair', { skip }, async (context) => {
  for (const [what, offset, field] of [
    ['a refcount that is too low, and a leak', 2 * CLUSTER + 2 * 5, Uint8Array.of(0, 0, 0, 2)],
    ['a refcount table that lies', CLUSTER, 0x123n],
  ] as const) {
    const { path } = loopDevice(context, { sizeBytes: 16 * MIB });
    await folder.tsvmOutput('convert', '-q', '-O', 'qcow2', '%source.raw', path);
    patchFile(path, [[offset, field]]);
    assert.notEqual((await qemuCheck(path)).corruptions, 0, what);
    assert.equal((await folder.tsvm(['check', '-f', 'qcow2', path])).code, 2, what);
    await folder.tsvmOutput('check', '--repair', '-f', 'qcow2', path);
    await assertHolds(path, CONTENT);
  }
});

test('commit into a device, and rebase from it', { skip }, async (context) => {
  for (const format of ['raw', 'qcow2']) {
    const { path } = loopDevice(context, { sizeBytes: 16 * MIB });
    const top = loopDevice(context, { sizeBytes: 16 * MIB });
    await folder.tsvmOutput('convert', '-q', '-O', format, '%source.raw', path);
    const expected = format === 'raw' ? readFileSync(path) : Buffer.from(CONTENT);
    const args = ['-q', '-f', 'qcow2', '-b', path, '-F', format, top.path];
    await folder.tsvmOutput('create', ...args);
    await overwrite(top.path);
    expected.fill(OVERWRITTEN, 0, MIB);
    await folder.tsvmOutput('commit', '-q', '-f', 'qcow2', '-d', top.path);
    const committed = format === 'raw' ? readFileSync(path) : await qemuContent(path);
    assert.ok(committed.equals(expected));
    await folder.tsvmOutput('rebase', '-f', 'qcow2', '-b', '', top.path);
    await assertHolds(top.path, expected);
  }
});

test('a device in use is left alone, and one that is read-only', { skip }, async (context) => {
  const { path } = loopDevice(context, { sizeBytes: MIB });
  const held = openHostFile(path, hostFiles(), { readOnly: false });
  const inUse = /loop\d+ is in use by process \d+ \(node\)/;
  await refused(path, inUse, 'create', '-f', 'qcow2', path, '1M');
  await refused(path, inUse, 'convert', '-O', 'raw', path, '%copy.raw');
  held.close();
  const readOnly = loopDevice(context, { sizeBytes: MIB, readOnly: true }).path;
  await refused(readOnly, /is a read-only block device/, 'create', '-f', 'raw', readOnly, '1M');
  await folder.tsvmOutput('convert', '-q', '-O', 'raw', readOnly, '%copy.raw');
  assert.deepEqual(fileBytes(folder.file('copy.raw'), 0, MIB), fileBytes(readOnly, 0, MIB));
});
