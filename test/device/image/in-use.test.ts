/** Images that QEMU has open are not written, whatever the flags. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { patchFile } from '../../support/disk-images.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
before(() => folder.makeChain());
after(() => folder.remove());

/** Every verb that writes, with its flags, on an image that has a leak to repair. */
const WRITERS: readonly (readonly string[])[] = [
  ['check', '-r', 'leaks', '-U', '%used.qcow2'],
  ['check', '-r', 'all', '-U', '%used.qcow2'],
  ['check', '--repair', '--force-share', '%used.qcow2'],
  ['check', '-r', 'all', '%used.qcow2'],
  ['bench', '-w', '-U', '-c', '1', '%used.qcow2'],
  ['snapshot', '-U', '-c', 'x', '%used.qcow2'],
  ['snapshot', '-c', 'x', '%used.qcow2'],
  ['resize', '%used.qcow2', '+1M'],
  ['commit', '%over.qcow2'],
  ['rebase', '-b', '', '%used.qcow2'],
  ['rebase', '-u', '-b', '', '%used.qcow2'],
  ['convert', '-n', '-U', '%top.raw', '%used.qcow2'],
  ['convert', '-U', '%top.raw', '%used.qcow2'],
  ['create', '%used.qcow2', '1M'],
];

test('no verb writes an image that QEMU has open, with -U or without', async () => {
  copyFileSync(folder.file('base.qcow2'), folder.file('used.qcow2'));
  const based = ['-b', 'used.qcow2', '-F', 'qcow2'];
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', ...based, '%over.qcow2');
  // A refcount that is too high, for a repair to correct.
  patchFile(folder.file('used.qcow2'), [[2 * 65_536 + 2 * 50, Uint8Array.of(0, 2)]]);
  const user = spawn('qemu-io', ['-f', 'qcow2', folder.file('used.qcow2')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  // Its prompt shows that the image is open.
  await once(user.stdout, 'data');
  const before = readFileSync(folder.file('used.qcow2'));
  try {
    for (const args of WRITERS) {
      const { code, stdout, stderr } = await folder.tsvm(args);
      assert.equal(code, 1, `${args.join(' ')}: ${stdout}${stderr}`);
      assert.match(stderr, /in use by|-U is for reading/, args.join(' '));
      assert.ok(readFileSync(folder.file('used.qcow2')).equals(before), args.join(' '));
    }
    for (const verb of ['info', 'map', 'check', 'compare']) {
      const args = [verb, '-U', '%used.qcow2', ...(verb === 'compare' ? ['%used.qcow2'] : [])];
      const [ours, theirs] = [await folder.tsvm(args), await folder.qemu(...args)];
      assert.equal(ours.code, theirs.code, `${verb} -U`);
      assert.doesNotMatch(ours.stderr, /in use/);
    }
  } finally {
    user.stdin.end();
    await once(user, 'close');
  }
});

test('without a user of the image, -U and -r are refused too, as qemu-img does', async () => {
  copyFileSync(folder.file('base.qcow2'), folder.file('free.qcow2'));
  const args = ['check', '-r', 'all', '-U', '%free.qcow2'];
  assert.equal((await folder.qemu(...args)).code, 1);
  assert.equal((await folder.tsvm(args)).code, 1);
});
