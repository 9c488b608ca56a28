/** virtio-blk and virtio-rng from the driver's side, on real files. */
import assert from 'node:assert/strict';
import {
  closeSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { qemuCheck, qemuImgOutput } from '../../support/qemu-img.ts';
import { runPayload, temporaryFolder } from '../../support/tsvm-process.ts';

const MIB = 2 ** 20;

function emptyDisk(t: TestContext, bytes: number): string {
  const path = join(temporaryFolder(t), 'disk.img');
  closeSync(openSync(path, 'w'));
  truncateSync(path, bytes);
  return path;
}

function assertAllPassed(stdout: string): void {
  const done = /^done passed=(\d+) failed=(\d+) skipped=(\d+)/m.exec(stdout);
  assert.ok(done, stdout);
  assert.equal(done[2], '0', stdout);
  assert.ok(Number(done[1]) > 0, stdout);
}

for (const more of [
  '',
  'without=event_idx',
  'without=indirect',
  'without=event_idx,indirect,mq',
  'pci',
  'pci without=event_idx,mq',
]) {
  test(`a disk conforms to virtio-blk ${more}`, async (t) => {
    const disk = emptyDisk(t, 64 * MIB);
    const words = `tests=blk capacity=${64 * MIB} ${more}`;
    const transport = more.startsWith('pci') ? ['--transport', 'pci'] : [];
    const { code, stdout } = await runPayload(words, ['--disk', disk, '--cpus', '2', ...transport]);
    assertAllPassed(stdout);
    assert.equal(code, 0);
  });
}

for (const options of ['compat=1.1', 'compat=0.10', 'extended_l2=on', 'preallocation=metadata']) {
  test(`a qcow2 disk conforms to virtio-blk: ${options}`, async (t) => {
    const disk = join(temporaryFolder(t), 'disk.qcow2');
    await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, disk, `${64 * MIB}`);
    const words = `tests=blk capacity=${64 * MIB}`;
    const { code, stdout } = await runPayload(words, ['--disk', disk, '--cpus', '2']);
    assertAllPassed(stdout);
    assert.equal(code, 0);
    const { corruptions, leaks, checkErrors, text } = await qemuCheck(disk);
    assert.deepEqual([corruptions, leaks, checkErrors], [0, 0, 0], text);
  });
}

for (const format of ['raw', 'qcow2']) {
  test(`an overlay takes the writes of a ${format} disk`, async (t) => {
    const raw = emptyDisk(t, 64 * MIB);
    const disk = join(temporaryFolder(t), 'disk');
    await qemuImgOutput('convert', '-f', 'raw', '-O', format, raw, disk);
    const before = readFileSync(disk);
    const words = `tests=blk capacity=${64 * MIB}`;
    const { code, stdout } = await runPayload(words, [
      '--disk',
      `${disk},overlay,format=${format}`,
    ]);
    assertAllPassed(stdout);
    assert.equal(code, 0);
    assert.ok(readFileSync(disk).equals(before));
  });
}

test('a backing file outside the image’s folder needs to be allowed', async (t) => {
  const raw = emptyDisk(t, MIB);
  const disk = join(temporaryFolder(t), 'disk.qcow2');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', raw, disk);
  const refused = await runPayload('tests=blk-capacity', ['--disk', disk]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /--disk FILE,backing=allow/);
  const words = `tests=blk-capacity capacity=${MIB}`;
  const allowed = await runPayload(words, ['--disk', `${disk},backing=allow`]);
  assert.match(allowed.stdout, /^ok blk-capacity/m, allowed.stdout);
});

test('a raw disk that a guest made look like qcow2 is raw with format=raw', async (t) => {
  const disk = join(temporaryFolder(t), 'disk.img');
  await qemuImgOutput('create', '-q', '-f', 'qcow2', disk, `${16 * MIB}`);
  const words = `tests=blk-capacity capacity=${Math.ceil(statSync(disk).size / 512) * 512}`;
  const refused = await runPayload(words, ['--disk', disk]);
  assert.match(refused.stderr, /begins like a qcow2 image.*format=raw/);
  const { stdout } = await runPayload(words, ['--disk', `${disk},format=raw`]);
  assert.match(stdout, /^ok blk-capacity/m, stdout);
});

test('a read-only disk refuses writes, and its file does not change', async (t) => {
  const disk = join(temporaryFolder(t), 'disk.img');
  const content = Buffer.alloc(MIB, 'read-only ');
  writeFileSync(disk, content);
  const { stdout } = await runPayload('tests=blk-readonly', ['--disk', `${disk},ro`]);
  assert.match(stdout, /^ok blk-readonly/m, stdout);
  assert.ok(readFileSync(disk).equals(content));
});

test('a disk whose length is not a multiple of 512 is padded', async (t) => {
  const disk = emptyDisk(t, 5 * 512);
  const fd = openSync(disk, 'r+');
  writeSync(fd, 'tail', 5 * 512);
  closeSync(fd);
  const { stdout } = await runPayload(`tests=blk-capacity capacity=${6 * 512}`, ['--disk', disk]);
  assert.match(stdout, /^ok blk-capacity/m, stdout);
});

test('a second writer of a disk is refused, readers share it', async (t) => {
  const disk = emptyDisk(t, MIB);
  let second: Awaited<ReturnType<typeof runPayload>> | undefined;
  let attempt: Promise<void> | undefined;
  await runPayload('tests=serial-echo', ['--disk', disk], {
    onStdout: (_, child) => {
      attempt ??= runPayload('tests=blk-id', ['--disk', disk]).then((result) => {
        second = result;
        child.kill('SIGTERM');
      });
    },
  });
  await attempt;
  assert.equal(second?.code, 125);
  assert.match(second?.stderr ?? '', /is in use by process \d+/);
});

test('an entropy device fills buffers', async () => {
  const { stdout } = await runPayload('tests=rng');
  assert.match(stdout, /^ok rng/m, stdout);
});

test('a driver that misbehaves gets DEVICE_NEEDS_RESET, and the device works after a reset', async (t) => {
  const disk = emptyDisk(t, 64 * MIB);
  const { code, stdout } = await runPayload('tests=bad', ['--disk', disk]);
  assertAllPassed(stdout);
  assert.equal(code, 0);
});
