/** Bitmaps created by qemu-img, changed here, and read by QEMU again; and vice versa. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync } from 'node:fs';
import { after, before, beforeEach, test } from 'node:test';
import { openHostFile } from '../../../vmm/backends/disk/file/host-file.ts';
import {
  bitsOf,
  listBitmaps,
} from '../../../vmm/backends/disk/image/qcow2/bitmap/bitmap-changes.ts';
import { Qcow2Image } from '../../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { hostFiles } from '../../../vmm/host/host-files.ts';
import { patchFile } from '../../support/disk-images.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
before(async () => {
  // Bits set by QEMU, in bitmaps of three granularities.
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%start.qcow2', '65M');
  for (const [name, granularity] of [
    ['fine', '512'],
    ['usual', '65536'],
    ['coarse', '1M'],
  ]) {
    await folder.qemuOutput('bitmap', '--add', '-g', granularity ?? '', '%start.qcow2', name ?? '');
  }
  folder.write(
    'start.qcow2',
    'write 1M 3k',
    'write 20M 2M',
    'write -z 65535k 513k',
    'write 66559k 1k',
  );
  await folder.qemuOutput('bitmap', '--add', '--disable', '%start.qcow2', 'empty');
});
beforeEach(() => copyFileSync(folder.file('start.qcow2'), folder.file('image.qcow2')));
after(() => folder.remove());

/** Every bitmap with its flags and bits, read from the file; asserts that the image is valid. */
async function bitmaps(name: string): Promise<object> {
  await folder.qemuOutput('check', '-q', `%${name}`);
  assert.equal((await folder.tsvm(['check', '-q', `%${name}`])).code, 0);
  const file = openHostFile(folder.file(name), hostFiles(), { readOnly: true });
  const image = Qcow2Image.open(file, { readOnly: true, backing: undefined });
  const found = Object.fromEntries(
    listBitmaps(image).map(({ auto, granularityBytes, name }) => [
      name,
      { auto, granularityBytes, bits: Buffer.from(bitsOf(image, name).bytes).toString('base64') },
    ]),
  );
  image.close();
  return found;
}

const ACTIONS: readonly (readonly string[])[] = [
  ['--add', '%', 'new'],
  ['--add', '--disable', '-g', '4k', '%', 'new'],
  ['--remove', '%', 'usual'],
  ['--clear', '%', 'usual'],
  ['--disable', '%', 'usual'],
  ['--enable', '%', 'empty'],
  ['--merge', 'usual', '%', 'empty'],
  ['--merge', 'fine', '%', 'empty'],
  ['--merge', 'coarse', '%', 'empty'],
  ['--merge', 'fine', '%', 'coarse'],
  ['--merge', 'coarse', '%', 'fine'],
  ['--merge', 'fine', '--merge', 'coarse', '--enable', '%', 'empty'],
  ['--add', '--merge', 'fine', '-g', '1M', '%', 'copy'],
  ['--merge', 'fine', '--clear', '%', 'empty'],
];

for (const action of ACTIONS) {
  test(`bitmap ${action.join(' ')}: the same result as qemu-img`, async () => {
    copyFileSync(folder.file('start.qcow2'), folder.file('theirs.qcow2'));
    const args = (name: string) => action.map((word) => (word === '%' ? `%${name}` : word));
    await folder.tsvmOutput('bitmap', ...args('image.qcow2'));
    await folder.qemuOutput('bitmap', ...args('theirs.qcow2'));
    assert.deepEqual(await bitmaps('image.qcow2'), await bitmaps('theirs.qcow2'));
    await folder.assertSame('image.qcow2', 'theirs.qcow2');
    // QEMU continues with them.
    await folder.qemuOutput('bitmap', '--add', '%image.qcow2', 'after');
    await bitmaps('image.qcow2');
  });
}

test('all bitmaps removed and created again', async () => {
  for (const name of ['fine', 'usual', 'coarse', 'empty']) {
    const { stderr } = await folder.tsvm(['bitmap', '--remove', '%image.qcow2', name]);
    assert.equal(stderr, '');
  }
  assert.deepEqual(await bitmaps('image.qcow2'), {});
  assert.doesNotMatch(await folder.qemuOutput('info', '%image.qcow2'), /bitmaps/);
  await folder.tsvmOutput('bitmap', '--add', '%image.qcow2', 'again');
  assert.match(await folder.qemuOutput('info', '%image.qcow2'), /name: again/);
});

test('merging from another image, also when that is the same file by another name', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%other.qcow2', '65M');
  await folder.tsvmOutput('bitmap', '--add', '-g', '512', '%other.qcow2', 'fine');
  const from = ['--merge', 'fine', '-b', '%image.qcow2', '-F', 'qcow2'];
  await folder.tsvmOutput('bitmap', ...from, '%other.qcow2', 'fine');
  const [other, image] = [await bitmaps('other.qcow2'), await bitmaps('image.qcow2')];
  assert.deepEqual(Object.entries(other)[0], Object.entries(image)[0]);
  await folder.tsvmOutput('bitmap', ...from, '%image.qcow2', 'empty');
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%small.qcow2', '1M');
  await folder.tsvmOutput('bitmap', '--add', '%small.qcow2', 'x');
  const wrong = await folder.tsvm(['bitmap', ...from, '%small.qcow2', 'x']);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /different sizes/);
});

test('convert --bitmaps: flags, granularities and bits go along', async () => {
  await folder.tsvmOutput('convert', '--bitmaps', '%image.qcow2', '%ours.qcow2');
  await folder.qemuOutput('convert', '--bitmaps', '-O', 'qcow2', '%image.qcow2', '%theirs.qcow2');
  assert.deepEqual(await bitmaps('ours.qcow2'), await bitmaps('theirs.qcow2'));
  await folder.assertSame('ours.qcow2', 'image.qcow2');
  await folder.tsvmOutput('convert', '-c', '--bitmaps', '%image.qcow2', '%packed.qcow2');
  assert.deepEqual(await bitmaps('packed.qcow2'), await bitmaps('theirs.qcow2'));
  for (const target of [['%x.raw'], ['-o', 'compat=0.10', '%x.qcow2']]) {
    assert.equal((await folder.tsvm(['convert', '--bitmaps', '%image.qcow2', ...target])).code, 1);
  }
});

test('a bitmap that was not saved can only be removed', async () => {
  const at = readFileSync(folder.file('image.qcow2')).lastIndexOf('usual');
  patchFile(folder.file('image.qcow2'), [[at - 24 + 12 + 3, Uint8Array.of(3)]]);
  for (const action of ['--clear', '--enable', '--disable']) {
    const { code, stderr } = await folder.tsvm(['bitmap', action, '%image.qcow2', 'usual']);
    assert.equal(code, 1, action);
    assert.match(stderr, /was not saved/);
  }
  const convert = ['convert', '--bitmaps', '%image.qcow2', '%x.qcow2'];
  assert.equal((await folder.tsvm(convert)).code, 1);
  await folder.tsvmOutput(...convert, '--skip-broken-bitmaps');
  assert.doesNotMatch(await folder.qemuOutput('info', '%x.qcow2'), /usual/);
  await folder.tsvmOutput('bitmap', '--remove', '%image.qcow2', 'usual');
  await bitmaps('image.qcow2');
});

test('impossible actions are refused and change nothing', async () => {
  const before = readFileSync(folder.file('image.qcow2'));
  for (const args of [
    ['%image.qcow2', 'fine'],
    ['--add', '%image.qcow2', 'fine'],
    ['--add', '-g', '1000', '%image.qcow2', 'x'],
    ['--add', '-g', '256', '%image.qcow2', 'x'],
    ['--add', '%image.qcow2', 'n'.repeat(1024)],
    ['--add', '%image.qcow2', ''],
    ['--remove', '%image.qcow2', 'x'],
    ['--merge', 'x', '%image.qcow2', 'fine'],
    ['-g', '4k', '--clear', '%image.qcow2', 'fine'],
    ['--add', '%top.raw', 'x'],
  ]) {
    assert.equal((await folder.tsvm(['bitmap', ...args])).code, 1, args.join(' '));
    assert.ok(readFileSync(folder.file('image.qcow2')).equals(before), args.join(' '));
  }
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', '%old.qcow2', '1M');
  const old = await folder.tsvm(['bitmap', '--add', '%old.qcow2', 'x']);
  assert.match(old.stderr, /amend -o compat=1\.1/);
});

test('resize keeps bitmaps, and cuts or extends them as qemu-img does', async () => {
  for (const sizes of [['66M'], ['200M'], ['100G'], ['20500K'], ['1M'], ['1M', '65M']]) {
    copyFileSync(folder.file('start.qcow2'), folder.file('image.qcow2'));
    copyFileSync(folder.file('start.qcow2'), folder.file('theirs.qcow2'));
    for (const size of sizes) {
      const { code, stderr } = await folder.tsvm(['resize', '--shrink', '%image.qcow2', size]);
      assert.deepEqual([code, stderr], [0, '']);
      await folder.qemuOutput('resize', '-q', '--shrink', '%theirs.qcow2', size);
    }
    assert.deepEqual(await bitmaps('image.qcow2'), await bitmaps('theirs.qcow2'), sizes.join(' '));
  }
});

for (const size of ['65M', '70M']) {
  test(`commit of ${size} keeps the bitmaps of both images, and records what it writes`, async () => {
    const backing = ['-b', 'image.qcow2', '-F', 'qcow2'];
    await folder.qemuOutput('create', '-q', '-f', 'qcow2', ...backing, '%top.qcow2', size);
    await folder.qemuOutput('bitmap', '--add', '%top.qcow2', 'of the top');
    folder.write('top.qcow2', 'write 3M 70k', 'write -z 9M 64k', 'write 21M 1k', 'write 64M 1M');
    copyFileSync(folder.file('top.qcow2'), folder.file('their-top.qcow2'));
    copyFileSync(folder.file('image.qcow2'), folder.file('theirs.qcow2'));
    await folder.qemuOutput(
      'rebase',
      '-u',
      '-b',
      'theirs.qcow2',
      '-F',
      'qcow2',
      '%their-top.qcow2',
    );
    const { code, stderr } = await folder.tsvm(['commit', '%top.qcow2']);
    assert.deepEqual([code, stderr], [0, '']);
    await folder.qemuOutput('commit', '-q', '%their-top.qcow2');
    assert.deepEqual(await bitmaps('image.qcow2'), await bitmaps('theirs.qcow2'));
    assert.deepEqual(await bitmaps('top.qcow2'), await bitmaps('their-top.qcow2'));
    await folder.assertSame('image.qcow2', 'theirs.qcow2');
  });
}

test('what leaves the content as it is leaves the bitmaps', async () => {
  const before = await bitmaps('image.qcow2');
  for (const args of [
    ['snapshot', '-c', 'x', '%image.qcow2'],
    ['snapshot', '-d', 'x', '%image.qcow2'],
    ['rebase', '-u', '-b', '', '%image.qcow2'],
    ['amend', '-o', 'lazy_refcounts=on', '%image.qcow2'],
  ]) {
    const { code, stderr } = await folder.tsvm(args);
    assert.deepEqual([code, stderr], [0, ''], args.join(' '));
    assert.deepEqual(await bitmaps('image.qcow2'), before, args.join(' '));
  }
});

test('convert -n and bench record their writes', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'raw', '%source.raw', '65M');
  copyFileSync(folder.file('image.qcow2'), folder.file('theirs.qcow2'));
  await folder.tsvmOutput('convert', '-n', '%source.raw', '%image.qcow2');
  await folder.qemuOutput('convert', '-n', '-O', 'qcow2', '%source.raw', '%theirs.qcow2');
  assert.deepEqual(await bitmaps('image.qcow2'), await bitmaps('theirs.qcow2'));
  await folder.tsvmOutput('bitmap', '--clear', '%image.qcow2', 'fine');
  await folder.qemuOutput('bitmap', '--clear', '%theirs.qcow2', 'fine');
  const bench = ['bench', '-q', '-w', '-c', '3', '-d', '1', '-s', '1000', '-o', '5M'];
  await folder.tsvmOutput(...bench, '%image.qcow2');
  const theirs = bench.filter((word) => word !== '-q');
  await folder.qemuOutput(...theirs, '-f', 'qcow2', '%theirs.qcow2');
  assert.deepEqual(await bitmaps('image.qcow2'), await bitmaps('theirs.qcow2'));
});

test('a bitmap that was not saved stays so', async () => {
  const at = readFileSync(folder.file('image.qcow2')).lastIndexOf('usual');
  patchFile(folder.file('image.qcow2'), [[at - 24 + 12 + 3, Uint8Array.of(3)]]);
  await folder.tsvmOutput('resize', '%image.qcow2', '100G');
  await folder.qemuOutput('check', '-q', '%image.qcow2');
  const info = await folder.qemuOutput('info', '%image.qcow2');
  assert.match(info, /in-use\s+\[1\]: auto\s+name: usual/);
  assert.match(info, /name: fine/);
});

test('another content as a whole has no bitmaps, and their space is free', async () => {
  await folder.tsvmOutput('snapshot', '-c', 'x', '%image.qcow2');
  const { code, stderr } = await folder.tsvm(['snapshot', '-a', 'x', '%image.qcow2']);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /image\.qcow2 had bitmaps, which are gone: this change makes them invalid/);
  assert.deepEqual(await bitmaps('image.qcow2'), {});
});

test('bitmaps that are damaged or too large are lost, and the change goes on', async () => {
  // The first entry of the directory, with another size of its table.
  const directory = readFileSync(folder.file('image.qcow2')).lastIndexOf('fine') - 24;
  for (const [at, bytes] of [
    [directory + 8, Uint8Array.of(0, 0, 0, 0)],
    [directory + 16, Uint8Array.of(9)],
  ] as const) {
    copyFileSync(folder.file('start.qcow2'), folder.file('image.qcow2'));
    patchFile(folder.file('image.qcow2'), [[at, bytes]]);
    const { code, stderr } = await folder.tsvm(['resize', '-q', '%image.qcow2', '1G']);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /image\.qcow2 had bitmaps, which are gone: .*directory is damaged/);
  }
});
