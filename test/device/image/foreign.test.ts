/** Images of other programs, made by qemu-img and read by both. */
import assert from 'node:assert/strict';
import { readFileSync, statSync, truncateSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
const WAYS: readonly (readonly [format: string, options: string])[] = [
  ['vmdk', 'subformat=monolithicSparse'],
  ['vmdk', 'subformat=monolithicSparse,zeroed_grain=on'],
  ['vmdk', 'subformat=streamOptimized'],
  ['vhdx', 'subformat=dynamic,block_size=1M'],
  ['vhdx', 'subformat=dynamic,block_size=32M,block_state_zero=off'],
  ['vhdx', 'subformat=fixed'],
  ['vpc', 'subformat=dynamic'],
  ['vpc', 'subformat=dynamic,force_size=on'],
  ['vpc', 'subformat=fixed,force_size=on'],
];

before(() => folder.makeChain());
after(() => folder.remove());

for (const [format, options] of WAYS) {
  test(`${format}, ${options}: the same content and information as by qemu-img`, async () => {
    const image = `%image.${format}`;
    await folder.qemuOutput('convert', '-f', 'raw', '-O', format, '-o', options, '%top.raw', image);
    await folder.qemuOutput('convert', '-f', format, '-O', 'raw', image, '%theirs.raw');
    await folder.tsvmOutput('convert', image, '%ours.raw');
    assert.ok(
      readFileSync(folder.file('ours.raw')).equals(readFileSync(folder.file('theirs.raw'))),
    );
    await folder.tsvmOutput('convert', '-c', image, '%ours.qcow2');
    await folder.assertSame('theirs.raw', 'ours.qcow2');
    await folder.tsvmOutput('compare', image, '%ours.qcow2');
    for (const output of ['human', 'json']) {
      const args = ['info', '-f', format, '--output', output, image];
      assert.equal(await folder.tsvmOutput(...args), await folder.qemuOutput(...args));
    }
    const map = JSON.parse(await folder.tsvmOutput('map', '--output', 'json', image));
    const { start, length } = map.at(-1);
    assert.equal(start + length, statSync(folder.file('theirs.raw')).size);
    await folder.tsvmOutput('info', image);
  });
}

test('a foreign image as a backing file', async () => {
  const vmdk = ['-O', 'vmdk', '-o', 'subformat=streamOptimized'];
  await folder.qemuOutput('convert', '-f', 'raw', ...vmdk, '%top.raw', '%base.vmdk');
  await folder.tsvmOutput('create', '-q', '-b', 'base.vmdk', '%on-vmdk.qcow2');
  await folder.assertSame('top.raw', 'on-vmdk.qcow2');
  await folder.tsvmOutput('convert', '%on-vmdk.qcow2', '%flat.raw');
  await folder.assertSame('top.raw', 'flat.raw');
});

test('foreign images are never written: every writing verb advises what to do', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'vmdk', '%written.vmdk', '1M');
  const before = readFileSync(folder.file('written.vmdk'));
  for (const args of [
    ['resize', '%written.vmdk', '2M'],
    ['convert', '-n', '%top.raw', '%written.vmdk'],
    ['convert', '%top.raw', '%written.vmdk'],
    ['create', '%written.vmdk', '1M'],
    ['snapshot', '-c', 'x', '%written.vmdk'],
    ['bench', '-w', '%written.vmdk'],
    ['rebase', '-b', '', '%written.vmdk'],
    ['commit', '%written.vmdk'],
  ]) {
    const { code, stderr } = await folder.tsvm(args);
    assert.equal(code, 1, args.join(' '));
    assert.match(stderr, /tsvm image convert -f vmdk -O qcow2/, args.join(' '));
    assert.ok(readFileSync(folder.file('written.vmdk')).equals(before), args.join(' '));
  }
  assert.equal((await folder.tsvm(['check', '%written.vmdk'])).code, 63);
});

test('unsupported images get distinct errors: several files, a parent, an incomplete download', async () => {
  for (const [args, reason] of [
    [['-f', 'vmdk', '-o', 'subformat=monolithicFlat', '%x.vmdk', '1M'], /one sparse file/],
    [['-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentSparse', '%x.vmdk', '1M'], /one sparse file/],
    [['-f', 'vmdk', '-b', 'base.vmdk', '-F', 'vmdk', '%x.vmdk'], /parent/],
  ] as const) {
    await folder.qemuOutput('create', '-q', ...args);
    const { code, stderr } = await folder.tsvm(['convert', '%x.vmdk', '%x.raw']);
    assert.equal(code, 1);
    assert.match(stderr, reason);
  }
  for (const [format, options] of WAYS) {
    const image = `cut.${format}`;
    await folder.qemuOutput('convert', '-O', format, '-o', options, '%top.raw', `%${image}`);
    truncateSync(folder.file(image), statSync(folder.file(image)).size - 70_000);
    const { code, stderr } = await folder.tsvm(['convert', `%${image}`, '%x.raw']);
    assert.equal(code, 1, `${format} ${options}`);
    assert.doesNotMatch(stderr, /^ {4}at /m);
  }
});
