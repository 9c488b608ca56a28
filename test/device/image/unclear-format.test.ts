/** Images whose name and content imply different formats: every verb requires -f. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { loopDevice, noLoopDevices } from '../../support/loop-device.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
/** Formats that qemu-img creates here, and their signatures; LUKS needs a secret. */
const FORMATS = ['qcow2', 'qcow', 'qed', 'vmdk', 'vhdx', 'vpc', 'vdi'];

before(async () => {
  await folder.makeChain();
  for (const format of FORMATS) {
    await folder.qemuOutput('create', '-q', '-f', format, `%${format}.img`, '64M');
  }
  const descriptor = 'subformat=monolithicFlat';
  await folder.qemuOutput('create', '-q', '-f', 'vmdk', '-o', descriptor, '%flat.img', '1M');
  const luks = Buffer.alloc(2 ** 20);
  luks.write('LUKS\xba\xbe', 'latin1');
  writeFileSync(folder.file('luks.img'), luks);
});
after(() => folder.remove());

const VERBS: readonly (readonly string[])[] = [
  ['check', '%IMAGE'],
  ['map', '%IMAGE'],
  ['convert', '%IMAGE', '%out.raw'],
  ['convert', '-O', 'qcow2', '%IMAGE', '%out.qcow2'],
  ['convert', '-n', '%top.raw', '%IMAGE'],
  ['compare', '%IMAGE', '%top.raw'],
  ['compare', '%top.raw', '%IMAGE'],
  ['resize', '%IMAGE', '+1G'],
  ['resize', '--shrink', '%IMAGE', '256k'],
  ['snapshot', '-l', '%IMAGE'],
  ['snapshot', '-c', 'x', '%IMAGE'],
  ['rebase', '-b', '', '%IMAGE'],
  ['commit', '%IMAGE'],
  ['bench', '-w', '%IMAGE'],
];

test('every verb refuses it, changes nothing, and advises what to do', async () => {
  for (const name of [...FORMATS, 'flat', 'luks']) {
    const format = name === 'flat' ? 'vmdk' : name;
    const image = `${name}.img`;
    const before = readFileSync(folder.file(image));
    // One format with all verbs, the others with some.
    for (const verb of name === 'qcow2' ? VERBS : VERBS.slice(2, 5)) {
      const args = verb.map((word) => word.replace('IMAGE', image));
      const { code, stderr } = await folder.tsvm(args);
      assert.equal(code, verb[0] === 'compare' ? 2 : 1, args.join(' '));
      assert.match(stderr, new RegExp(`begins like a ${format} image`), args.join(' '));
      assert.match(stderr, /-[fFO] raw if it is a raw disk/, args.join(' '));
      assert.ok(readFileSync(folder.file(image)).equals(before), args.join(' '));
    }
  }
});

test('an explicit format is accepted', async () => {
  for (const format of ['raw', 'qcow2']) {
    const args = ['convert', '-f', format, '-O', 'raw', '%qcow2.img'];
    await folder.tsvmOutput(...args, `%${format}.ours`);
    await folder.qemuOutput(...args, `%${format}.theirs`);
    assert.ok(
      readFileSync(folder.file(`${format}.ours`)).equals(
        readFileSync(folder.file(`${format}.theirs`)),
      ),
    );
  }
});

test('a backing file declared raw that looks like an image: a warning', async () => {
  for (const [verb, ...args] of [
    ['create', '-q', '-b', 'qcow2.img', '-F', 'raw', '%over.qcow2'],
    ['convert', '-q', '-B', 'qcow2.img', '-F', 'raw', '%top.raw', '%thin.qcow2'],
    ['rebase', '-q', '-u', '-b', 'qcow2.img', '-F', 'raw', '%over.qcow2'],
  ]) {
    const { code, stderr } = await folder.tsvm([verb ?? '', ...args]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /begins like a qcow2 image but is used as a raw disk/);
  }
});

test('a new file may have any name', async () => {
  await folder.tsvmOutput('create', '-q', '-f', 'raw', '%qcow2.img', '1M');
  await folder.tsvmOutput('convert', '%top.qcow2', '%qed.img');
  await folder.assertSame('top.raw', 'qed.img');
});

test('a block device with an image on it', { skip: noLoopDevices() }, async (test) => {
  const content = readFileSync(folder.file('base.qcow2'));
  const device = loopDevice(test, { sizeBytes: 16 * 2 ** 20, content });
  const { code, stderr } = await folder.tsvm(['convert', device.path, '%out.raw']);
  assert.equal(code, 1);
  assert.match(stderr, /begins like a qcow2 image/);
  assert.equal((await folder.tsvm(['check', '-f', 'qcow2', device.path])).code, 0);
});

test('a file that does not match its format: the advice refers to tsvm only', async () => {
  const { code, stderr } = await folder.tsvm(['check', '-f', 'qcow2', '%top.raw']);
  assert.equal(code, 1);
  assert.match(stderr, /not a qcow2 image; if it is a raw disk, give its format as raw/);
});
