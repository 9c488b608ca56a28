/** Snapshots of ours and of qemu-img, of the same image: the same disk, the same list, nothing lost. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkImage } from '../../../../../../../vmm/backends/disk/image/qcow2/check/check.ts';
import { repairImage } from '../../../../../../../vmm/backends/disk/image/qcow2/check/repair.ts';
import { parseHeader } from '../../../../../../../vmm/backends/disk/image/qcow2/header/header.ts';
import { HeaderField } from '../../../../../../../vmm/backends/disk/image/qcow2/header/layout.ts';
import { Qcow2Image } from '../../../../../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import {
  applySnapshot,
  createSnapshot,
  deleteSnapshot,
  listSnapshots,
} from '../../../../../../../vmm/backends/disk/image/qcow2/snapshot/snapshots.ts';
import { CrashingImageFile } from '../../../../../../support/crashing-image-file.ts';
import { pattern, temporaryFolder } from '../../../../../../support/disk-fixtures.ts';
import { lowRefcounts } from '../../../../../../support/low-refcounts.ts';
import { MemoryImageFile } from '../../../../../../support/memory-image-file.ts';
import { qemuCheck, qemuImg, qemuImgOutput } from '../../../../../../support/qemu-img.ts';
import { QemuIo } from '../../../../../../support/qemu-io.ts';
import { Random } from '../../../../../../support/random.ts';

const folder = temporaryFolder();
after(() => folder.remove());

const CLUSTER = 4096;
const SIZE = 2 ** 20;

let count = 0;
async function emptyImage(options: string, size = SIZE): Promise<string> {
  const path = join(folder.path, `${count++}.qcow2`);
  await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, path, `${size}`);
  return path;
}

function open(file: MemoryImageFile, readOnly = false): Qcow2Image {
  return Qcow2Image.open(file, { readOnly, backing: undefined });
}

/** Changes an image that is on disk. */
function change(path: string, act: (image: Qcow2Image) => void): void {
  const file = new MemoryImageFile(readFileSync(path), path);
  const image = open(file);
  try {
    act(image);
  } finally {
    image.close();
    writeFileSync(path, file.content());
  }
}

/** What a guest reads. */
function content(file: MemoryImageFile): Buffer {
  const image = open(file, true);
  const bytes = Buffer.alloc(image.sizeBytes);
  image.readSync(0, bytes);
  return bytes;
}

async function assertSound(path: string): Promise<void> {
  const { corruptions, leaks, checkErrors, text } = await qemuCheck(path);
  assert.deepEqual([corruptions, leaks, checkErrors], [0, 0, 0], text);
}

/** `qemu-img snapshot -l` without the time, and without the count of instructions. */
async function qemuList(path: string): Promise<string> {
  const list = await qemuImgOutput('snapshot', '-l', path);
  return list.replaceAll(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, 'DATE').replaceAll(/\s+0?$/gm, '');
}

const OPTIONS = [
  'cluster_size=512,refcount_bits=64',
  'cluster_size=4k',
  'compat=0.10,cluster_size=4k',
  'cluster_size=64k,extended_l2=on',
  'cluster_size=4k,lazy_refcounts=on,refcount_bits=32',
  'cluster_size=1k,refcount_bits=2',
];

for (const [index, options] of OPTIONS.entries()) {
  test(`the same as qemu-img makes of them: ${options}`, async () => {
    const random = new Random(3000 + index);
    const ours = await emptyImage(options);
    const theirs = join(folder.path, `${count++}.qcow2`);
    copyFileSync(ours, theirs);
    const names: string[] = [];
    for (let step = 0; step < 16; step++) {
      const verb = random.pick(['write', 'write', '-c', '-c', '-a', '-d']);
      const name =
        verb === '-c' ? `snapshot ü ${step}` : (names[random.below(names.length + 1)] ?? '');
      if (verb === 'write') {
        const offset = random.below(SIZE / 512 - 100) * 512;
        const command = `write -P ${random.between(1, 255)} ${offset} ${random.between(1, 99) * 512}`;
        for (const path of [ours, theirs]) {
          const io = new QemuIo();
          await io.ask(`open -f qcow2 ${path}`, command);
          await io.end();
        }
        continue;
      }
      if (name === '') continue;
      const { code } = await qemuImg('snapshot', verb, name, theirs);
      const act = { '-c': createSnapshot, '-a': applySnapshot, '-d': deleteSnapshot }[verb];
      const run = (): void => change(ours, (image) => act?.(image, name));
      if (code === 0) run();
      else assert.throws(run, { code: 'invalid-config' });
      if (code === 0 && verb === '-c') names.push(name);
      if (code === 0 && verb === '-d') names.splice(names.indexOf(name), 1);
      await assertSound(ours);
      assert.equal(await qemuList(ours), await qemuList(theirs));
      const same = await qemuImg('compare', '-f', 'qcow2', '-F', 'qcow2', ours, theirs);
      assert.equal(same.code, 0, same.stdout + same.stderr);
    }
    for (const name of names) {
      await qemuImgOutput('snapshot', '-a', name, theirs);
      change(ours, (image) => applySnapshot(image, name));
      const same = await qemuImg('compare', '-f', 'qcow2', '-F', 'qcow2', ours, theirs);
      assert.equal(same.code, 0, `${name}: ${same.stdout}${same.stderr}`);
    }
  });
}

test('the list equals the snapshot table', async () => {
  const path = await emptyImage('cluster_size=4k');
  const date = new Date('2024-02-29T12:34:56.789Z');
  change(path, (image) => {
    assert.deepEqual(listSnapshots(image), []);
    createSnapshot(image, 'first', date);
  });
  await qemuImgOutput('snapshot', '-c', 'second', path);
  change(path, (image) => {
    const [first, second] = listSnapshots(image);
    assert.ok(first && second);
    const { id, name, dateSeconds, dateNanoseconds, vmStateBytes, icount, diskBytes } = first;
    assert.deepEqual(
      { id, name, dateSeconds, dateNanoseconds, vmStateBytes, icount, diskBytes },
      {
        id: '1',
        name: 'first',
        dateSeconds: Math.floor(date.getTime() / 1000),
        dateNanoseconds: 789_000_000,
        vmStateBytes: 0,
        icount: undefined,
        diskBytes: SIZE,
      },
    );
    assert.deepEqual([second.id, second.name, second.diskBytes], ['2', 'second', SIZE]);
  });
  const info = JSON.parse(await qemuImgOutput('info', '--output=json', path));
  assert.equal(info.snapshots[0]['date-sec'], Math.floor(date.getTime() / 1000));
});

test("apply brings back the disk's size, too, larger and smaller", async () => {
  const path = await emptyImage('cluster_size=512');
  change(path, (image) => {
    image.writeSync(SIZE - 512, pattern(512, 1));
    createSnapshot(image, 'small');
    image.resizeSync(SIZE * 64);
    image.writeSync(SIZE * 64 - 512, pattern(512, 2));
    createSnapshot(image, 'large');
    applySnapshot(image, 'small');
    assert.equal(image.sizeBytes, SIZE);
    const bytes = new Uint8Array(512);
    image.readSync(SIZE - 512, bytes);
    assert.deepEqual(bytes, pattern(512, 1));
    applySnapshot(image, 'large');
    assert.equal(image.sizeBytes, SIZE * 64);
    image.readSync(SIZE * 64 - 512, bytes);
    assert.deepEqual(bytes, pattern(512, 2));
  });
  await assertSound(path);
});

test('deleting the last snapshot frees everything, and all data is writable in place again', async () => {
  const path = await emptyImage('cluster_size=4k');
  change(path, (image) => image.writeSync(0, pattern(64 * CLUSTER, 1)));
  const before = readFileSync(path);
  change(path, (image) => {
    createSnapshot(image, 'a');
    assert.equal(image.mapSync(0, CLUSTER).writable, false);
    createSnapshot(image, 'b');
    image.writeSync(CLUSTER, pattern(CLUSTER, 2));
    deleteSnapshot(image, 'a');
    assert.equal(image.mapSync(0, CLUSTER).writable, false);
    assert.equal(image.mapSync(CLUSTER, CLUSTER).writable, true);
    deleteSnapshot(image, 'b');
    assert.equal(image.mapSync(0, CLUSTER).writable, true);
    assert.deepEqual(listSnapshots(image), []);
  });
  await assertSound(path);
  assert.equal(parseHeader(new MemoryImageFile(readFileSync(path))).snapshotsOffset, 0);
  assert.ok(readFileSync(path).length >= before.length);
});

test('lookups by id and by name when the id of one snapshot is the name of another', async () => {
  const path = await emptyImage('cluster_size=4k');
  change(path, (image) => {
    image.writeSync(0, pattern(512, 1));
    createSnapshot(image, '2');
    image.writeSync(0, pattern(512, 2));
    createSnapshot(image, '1');
    applySnapshot(image, '1');
    const bytes = new Uint8Array(512);
    image.readSync(0, bytes);
    assert.deepEqual(bytes, pattern(512, 1));
    deleteSnapshot(image, '1');
    assert.deepEqual(
      listSnapshots(image).map(({ name }) => name),
      ['2'],
    );
  });
});

test('refused: no such snapshot, no name, a name too long, an external data file', async () => {
  const path = await emptyImage('cluster_size=4k');
  const refusal = { code: 'invalid-config' };
  change(path, (image) => {
    assert.throws(() => applySnapshot(image, 'a'), refusal);
    assert.throws(() => deleteSnapshot(image, 'a'), refusal);
    assert.throws(() => createSnapshot(image, ''), refusal);
    assert.throws(() => createSnapshot(image, 'n'.repeat(256)), refusal);
    createSnapshot(image, 'n'.repeat(255));
  });
  await assertSound(path);
  const external = await emptyImage(`data_file=${join(folder.path, 'data.raw')}`);
  const file = new MemoryImageFile(readFileSync(external), external);
  const dataFile = new MemoryImageFile();
  const image = Qcow2Image.open(file, { readOnly: false, backing: undefined, dataFile });
  assert.throws(() => createSnapshot(image, 'a'), refusal);
});

test('refcounts too narrow for one more snapshot are found before anything changes', async () => {
  const path = await emptyImage('cluster_size=4k,refcount_bits=1');
  change(path, (image) => {
    image.writeSync(0, pattern(CLUSTER, 1));
    assert.throws(() => createSnapshot(image, 'a'), { code: 'invalid-config', message: /1 bits/ });
    image.writeSync(CLUSTER, pattern(CLUSTER, 1));
  });
  await assertSound(path);
});

test('a snapshot with an invalid L1 table is neither applied nor deleted', async () => {
  const lies: [string, number, Buffer][] = [
    ['unaligned', 0, Buffer.from([0, 0, 0, 0, 0, 0, 2, 0])],
    ['past the end', 0, Buffer.from([0, 0, 0xff, 0, 0, 0, 0, 0])],
    ['too many entries', 8, Buffer.from([0xff, 0xff, 0xff, 0xff])],
  ];
  const path = await emptyImage('cluster_size=4k');
  change(path, (image) => {
    image.writeSync(0, pattern(CLUSTER, 1));
    createSnapshot(image, 'a');
  });
  for (const [name, at, bytes] of lies) {
    const file = new MemoryImageFile(readFileSync(path), path);
    file.writeSync(parseHeader(file).snapshotsOffset + at, bytes);
    const before = file.content();
    const image = open(file);
    assert.throws(() => applySnapshot(image, 'a'), { code: 'invalid-disk' }, name);
    assert.throws(() => deleteSnapshot(image, 'a'), { code: 'invalid-disk' }, name);
    image.close();
    assert.deepEqual(file.content(), before, name);
  }
});

test('a snapshot that claims a disk beyond all reason, or an L2 table twice, is not applied', async () => {
  const path = await emptyImage('cluster_size=4k', 16 * SIZE);
  change(path, (image) => {
    image.writeSync(0, pattern(CLUSTER, 1));
    createSnapshot(image, 'a');
  });
  const huge = new MemoryImageFile(readFileSync(path), path);
  huge.writeSync(parseHeader(huge).snapshotsOffset + 48, Uint8Array.of(0x7f));
  assert.throws(() => applySnapshot(open(huge), 'a'), { code: 'invalid-disk' });

  const twice = new MemoryImageFile(readFileSync(path), path);
  const l1 = Buffer.alloc(8);
  twice.readSync(parseHeader(twice).snapshotsOffset, l1);
  const entry = Buffer.alloc(8);
  twice.readSync(Number(l1.readBigUInt64BE()), entry);
  twice.writeSync(Number(l1.readBigUInt64BE()) + 8, entry);
  assert.throws(() => applySnapshot(open(twice), 'a'), {
    code: 'invalid-disk',
    message: /L2 table/,
  });
  assert.throws(() => deleteSnapshot(open(twice), 'a'), { code: 'invalid-disk' });
});

test('flags that only a snapshot has do not become active with it', async () => {
  const path = await emptyImage('cluster_size=4k');
  const file = new MemoryImageFile(readFileSync(path), path);
  const image = open(file);
  image.writeSync(0, pattern(2 * CLUSTER, 1));
  createSnapshot(image, 'a');
  image.writeSync(0, pattern(2 * CLUSTER, 2));
  image.flushSync();
  // As QEMU leaves them when it deletes another snapshot: these clusters have no one else now.
  const entry = Buffer.alloc(8);
  file.readSync(parseHeader(file).snapshotsOffset, entry);
  file.readSync(Number(entry.readBigUInt64BE()), entry);
  const l2 = Number(entry.readBigUInt64BE());
  file.readSync(l2, entry);
  entry.writeUInt8(entry.readUInt8(0) | 0x80);
  file.writeSync(l2, entry);
  applySnapshot(image, 'a');
  image.close();
  writeFileSync(path, file.content());
  await assertSound(path);
});

test('in version 3, a snapshot that does not say its size is completed by a repair', async () => {
  const path = await emptyImage('compat=0.10,cluster_size=4k');
  change(path, (image) => {
    image.writeSync(0, pattern(CLUSTER, 1));
    createSnapshot(image, 'a');
  });
  const file = new MemoryImageFile(readFileSync(path), path);
  const { snapshotsOffset } = parseHeader(file);
  const record = Buffer.alloc(40 + 24 + 2);
  file.readSync(snapshotsOffset, record);
  record.writeUInt32BE(0, 36);
  file.writeSync(snapshotsOffset, Buffer.concat([record.subarray(0, 40), record.subarray(64)]));
  writeFileSync(path, file.content());
  await qemuImgOutput('amend', '-f', 'qcow2', '-o', 'compat=1.1', path);
  const upgraded = new MemoryImageFile(readFileSync(path), path);
  const { snapshotsOffset: at } = parseHeader(upgraded);
  // QEMU has completed it by itself: undo that.
  const complete = Buffer.alloc(66);
  upgraded.readSync(at, complete);
  complete.writeUInt32BE(0, 36);
  upgraded.writeSync(at, Buffer.concat([complete.subarray(0, 40), complete.subarray(64)]));
  assert.equal(checkImage(upgraded).corruptions, 1);
  assert.equal(repairImage(upgraded, 'all').corruptions, 0);
  writeFileSync(path, upgraded.content());
  await assertSound(path);
  change(path, (image) => assert.equal(listSnapshots(image)[0]?.diskBytes, SIZE));
});

for (const options of ['cluster_size=4k', 'compat=0.10,cluster_size=4k']) {
  test(`a crash at any moment leaves a snapshot complete or absent, and loses nothing: ${options}`, async () => {
    const random = new Random(77);
    const path = await emptyImage(options);
    change(path, (image) => {
      image.writeSync(0, pattern(40 * CLUSTER, 1));
      createSnapshot(image, 'old');
      image.writeSync(10 * CLUSTER, pattern(20 * CLUSTER, 2));
    });
    const before = new MemoryImageFile(readFileSync(path));
    const now = content(before);
    const then = Buffer.concat([pattern(40 * CLUSTER, 1), Buffer.alloc(SIZE - 40 * CLUSTER)]);
    const steps: [(image: Qcow2Image) => void, Buffer[], string[][]][] = [
      [(image) => createSnapshot(image, 'new'), [now], [['old'], ['old', 'new']]],
      [(image) => applySnapshot(image, 'old'), [now, then], [['old']]],
      [(image) => deleteSnapshot(image, 'old'), [now], [['old'], []]],
    ];
    for (const [act, contents, lists] of steps) {
      const file = new CrashingImageFile(before.content());
      const image = open(file);
      act(image);
      image.close();
      assert.ok(file.steps > 5);
      for (let round = 0; round < 4; round++) {
        for (let step = 0; step <= file.steps; step++) {
          const crashed = file.crashedAt(step, random);
          if (!parseHeader(crashed).dirty) assert.deepEqual(lowRefcounts(crashed), []);
          repairImage(crashed, 'all');
          const { corruptions, leaks, problems } = checkImage(crashed);
          assert.deepEqual([corruptions, leaks], [0, 0], problems.join('\n'));
          const read = content(crashed);
          assert.ok(
            contents.some((bytes) => bytes.equals(read)),
            `step ${step}`,
          );
          const names = listSnapshots(open(crashed, true)).map(({ name }) => name);
          assert.ok(
            lists.some((list) => list.join() === names.join()),
            `step ${step}: ${names}`,
          );
          if (!names.includes('old')) continue;
          applySnapshot(open(crashed), 'old');
          assert.ok(content(crashed).equals(then), `step ${step}: the old snapshot`);
        }
      }
    }
  });
}

test('the dirty bit is set while refcounts and references may disagree, and clear afterwards', async () => {
  const path = await emptyImage('cluster_size=4k');
  change(path, (image) => image.writeSync(0, pattern(CLUSTER, 1)));
  const file = new CrashingImageFile(readFileSync(path));
  const image = open(file);
  createSnapshot(image, 'a');
  image.close();
  const dirtyAt: boolean[] = [];
  const random = new Random(1);
  for (let step = 0; step <= file.steps; step++) {
    dirtyAt.push(parseHeader(file.crashedAt(step, random)).dirty);
  }
  assert.ok(dirtyAt.includes(true));
  assert.equal(dirtyAt.at(-1), false);
  assert.equal(file.content()[HeaderField.incompatible_features + 7], 0);
});
