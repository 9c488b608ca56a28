/** Compares the output of `info`, `map`, `check` and `snapshot -l` with qemu-img's. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { patchFile } from '../../support/disk-images.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
const NAMES = [
  'base.qcow2',
  'middle.qcow2',
  'top.qcow2',
  'old.qcow2',
  'data.qcow2',
  'packed.qcow2',
  'bitmaps.qcow2',
];

before(async () => {
  await folder.makeChain();
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', '%old.qcow2', '1M');
  const dataOptions = `data_file=${folder.file('data.raw')},lazy_refcounts=on,extended_l2=on`;
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '-o', dataOptions, '%data.qcow2', '4M');
  folder.write('data.qcow2', 'write -P 1 1M 64k', 'write -z 2M 64k');
  const zstd = ['-c', '-o', 'compression_type=zstd'];
  await folder.qemuOutput('convert', '-O', 'qcow2', ...zstd, '%top.raw', '%packed.qcow2');
});
before(async () => {
  const bitmap = (...args: string[]) => folder.qemuOutput('bitmap', ...args);
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%bitmaps.qcow2', '64M');
  await bitmap('--add', '%bitmaps.qcow2', 'on');
  await bitmap('--add', '--disable', '-g', '4096', '%bitmaps.qcow2', 'off');
  await bitmap('--add', '%bitmaps.qcow2', 'lost in a crash');
  setBitmapFlags('bitmaps.qcow2', 'lost in a crash', 3);
});
after(() => folder.remove());

/** Offsets in docs/interop/qcow2.txt, "Bitmap directory entry". */
function setBitmapFlags(image: string, bitmap: string, flags: number): void {
  const nameAt = readFileSync(folder.file(image)).lastIndexOf(bitmap);
  assert.ok(nameAt > 0);
  patchFile(folder.file(image), [[nameAt - 24 + 12 + 3, Uint8Array.of(flags)]]);
}

for (const name of NAMES) {
  test(`${name}: JSON has the same keys and values`, async () => {
    for (const verb of [['info'], ['info', '--backing-chain'], ['map'], ['check']]) {
      const args = [...verb, '--output', 'json', `%${name}`];
      const [ours, theirs] = await Promise.all([
        folder.tsvmOutput(...args),
        folder.qemuOutput(...args),
      ]);
      assert.deepEqual(JSON.parse(ours), JSON.parse(theirs), verb.join(' '));
    }
  });

  test(`${name}: the human-readable output is the same`, async () => {
    for (const verb of ['info', 'map', 'check']) {
      const args = [verb, `%${name}`];
      const [ours, theirs] = await Promise.all([folder.tsvm(args), folder.qemu(...args)]);
      assert.equal(ours.stdout, theirs.stdout, verb);
      assert.equal(ours.code, theirs.code, verb);
    }
  });
}

test('raw images: info and map, but no check', async () => {
  for (const args of [
    ['info', '-f', 'raw', '%top.raw'],
    ['info', '-f', 'raw', '--output', 'json', '%top.raw'],
    ['map', '-f', 'raw', '%top.raw'],
    ['map', '-f', 'raw', '--output', 'json', '%top.raw'],
    ['check', '-f', 'raw', '%top.raw'],
  ]) {
    const [ours, theirs] = await Promise.all([folder.tsvm(args), folder.qemu(...args)]);
    assert.equal(ours.stdout, theirs.stdout, args.join(' '));
    assert.equal(ours.code, theirs.code, args.join(' '));
  }
});

test('snapshots are listed as qemu-img lists them', async () => {
  const args = ['snapshot', '-l', '%top.qcow2'];
  assert.equal(await folder.tsvmOutput(...args), await folder.qemuOutput(...args));
});

test('a part of the map', async () => {
  const args = ['map', '--output', 'json', '-s', '1M', '-l', '0x380000', '%top.qcow2'];
  assert.equal(await folder.tsvmOutput(...args), await folder.qemuOutput(...args));
});

test('info recognizes a qcow2 image by its content; other verbs require -f', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%disk.img', '1M');
  assert.match(await folder.tsvmOutput('info', '%disk.img'), /^file format: qcow2$/m);
  assert.match(await folder.tsvmOutput('info', '-f', 'raw', '%disk.img'), /^file format: raw$/m);
  const unclear = await folder.tsvm(['check', '%disk.img']);
  assert.equal(unclear.code, 1);
  assert.match(unclear.stderr, /begins like a qcow2 image.* -f qcow2 .* -f raw/);
  assert.equal((await folder.tsvm(['check', '-f', 'raw', '%disk.img'])).code, 63);
  assert.equal((await folder.tsvm(['check', '-f', 'qcow2', '%disk.img'])).code, 0);
});

test('info does not need the backing file', async () => {
  const unsafe = ['-u', '-b', 'gone.raw', '-F', 'raw'];
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', ...unsafe, '%orphan.qcow2', '1M');
  const args = ['info', '--output', 'json', '%orphan.qcow2'];
  assert.deepEqual(
    JSON.parse(await folder.tsvmOutput(...args)),
    JSON.parse(await folder.qemuOutput(...args)),
  );
  const chain = await folder.tsvm(['info', '--backing-chain', '%orphan.qcow2']);
  assert.equal(chain.code, 1);
  assert.match(chain.stderr, /gone\.raw/);
});

/** The refcount of a cluster, in an image whose refcount block is its third cluster. */
function setRefcount(name: string, cluster: number, refcount: number): void {
  patchFile(folder.file(name), [
    [2 * 65_536 + 2 * cluster, Uint8Array.of(refcount >> 8, refcount)],
  ]);
}

test('check: exit codes before and after a repair', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%broken.qcow2', '4M');
  folder.write('broken.qcow2', 'write 0 256k');
  const check = async (...args: string[]) => {
    const { code, stdout } = await folder.tsvm([
      'check',
      ...args,
      '--output=json',
      '%broken.qcow2',
    ]);
    const theirs = await folder.qemu('check', '--output=json', '%broken.qcow2');
    assert.equal(code, theirs.code, stdout);
    return { code, ...JSON.parse(stdout) };
  };
  setRefcount('broken.qcow2', 7, 2);
  setRefcount('broken.qcow2', 8, 3);
  assert.equal((await check()).leaks, 2);
  assert.equal((await check('-r', 'leaks'))['leaks-fixed'], 2);
  assert.equal((await check()).code, 0);
  setRefcount('broken.qcow2', 7, 0);
  assert.equal((await check()).code, 2);
  assert.equal((await check('--repair'))['corruptions-fixed'] > 0, true);
  assert.equal((await check()).code, 0);
  writeFileSync(folder.file('none.qcow2'), 'not an image');
  assert.equal((await folder.tsvm(['check', '%none.qcow2'])).code, 1);
});

test('map: a raw file with an incomplete last sector, alone and as a backing file', async () => {
  for (const bytes of [1, 511, 513, 1000, 65_537]) {
    writeFileSync(folder.file('odd.raw'), Buffer.alloc(bytes, 1));
    const backing = ['-b', 'odd.raw', '-F', 'raw'];
    await folder.qemuOutput('create', '-q', '-f', 'qcow2', ...backing, '%over-odd.qcow2', '1M');
    for (const args of [
      ['map', '-f', 'raw', '%odd.raw'],
      ['map', '--output', 'json', '-f', 'raw', '%odd.raw'],
      ['map', '--output', 'json', '-s', '1', '-f', 'raw', '%odd.raw'],
      ['map', '--output', 'json', '%over-odd.qcow2'],
    ]) {
      const label = `${bytes} bytes: ${args.join(' ')}`;
      assert.equal(await folder.tsvmOutput(...args), await folder.qemuOutput(...args), label);
    }
  }
});
