import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { emptyImage, run } from '../../support/disk-boot/file-system-images.ts';
import { ext4Image } from '../../support/disk-boot/partitioned-disk.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

function makeDisk(context: TestContext): string {
  const folder = temporaryFolder(context);
  const boot = join(folder, 'root/boot');
  mkdirSync(join(boot, 'grub'), { recursive: true });
  for (const name of ['vmlinuz-1', 'vmlinuz-2', 'initrd.img-2'])
    writeFileSync(join(boot, name), 'x');
  const config = `set default=two
menuentry 'Version 1' --id one { linux /boot/vmlinuz-1 a; }
menuentry 'Version\t2' --id two { linux /boot/vmlinuz-2 b; initrd /boot/initrd.img-2; }`;
  writeFileSync(join(boot, 'grub/grub.cfg'), config);
  return ext4Image(join(folder, 'disk.img'), 8, join(folder, 'root'));
}

test('--kernel-entry list: the entries, the default one with a star, safe for a terminal', async (context) => {
  const { stdout, code } = await runTsvm([
    'boot',
    '--disk',
    makeDisk(context),
    '--kernel-entry',
    'list',
  ]);
  assert.equal(code, 0);
  assert.equal(
    stdout,
    `   ENTRY  TITLE      KERNEL
   one    Version 1  the disk: /boot/vmlinuz-1
*  two    Version\ufffd2  the disk: /boot/vmlinuz-2
`,
  );
});

const REFUSED: readonly (readonly [
  name: string,
  args: (disk: string) => readonly string[],
  message: RegExp,
])[] = [
  [
    'an unknown entry',
    (disk) => ['--disk', disk, '--kernel-entry', 'three'],
    /has no boot entry "three": the entries are "one", "two"/,
  ],
  [
    'an entry and a kernel',
    (disk) => ['--disk', disk, '--kernel', 'k', '--kernel-entry', 'one'],
    /--kernel and --kernel-entry contradict each other/,
  ],
  [
    'an entry without a disk',
    () => ['--kernel-entry', 'one'],
    /has no boot entry|no kernel was found/,
  ],
  [
    'an entry that is no kernel',
    (disk) => ['--disk', disk, '--kernel-entry', 'one'],
    /the disk: \/boot\/vmlinuz-1/,
  ],
];
for (const [name, args, message] of REFUSED) {
  test(`refused with a sentence: ${name}`, async (context) => {
    const { stderr, code } = await runTsvm(['boot', ...args(makeDisk(context))]);
    assert.match(stderr, message);
    // A wrong command line, or what came of it.
    assert.equal(code, name === 'an entry and a kernel' ? 2 : 125);
  });
}

test('the console does not overwrite a file for cloud-init', async (context) => {
  const key = join(temporaryFolder(context), 'key.pub');
  writeFileSync(key, 'ssh-ed25519 AAAA');
  const { stderr, code } = await runTsvm(['boot', '--ssh-key', key, '--console', `file:${key}`]);
  assert.match(stderr, /key.pub/);
  assert.notEqual(code, 0);
  assert.equal(readFileSync(key, 'utf8'), 'ssh-ed25519 AAAA');
});

test('a partitioned disk without a kernel: what was searched', async (context) => {
  const disk = emptyImage(join(temporaryFolder(context), 'empty.img'), 4);
  run('sgdisk', '-n', '1:0:0', disk);
  const { stderr, code } = await runTsvm(['boot', '--disk', disk]);
  assert.match(stderr, /no kernel was found on .*empty.img: give one with --kernel/);
  assert.equal(code, 125);
});

test('a qcow2 image that is called .img, as Ubuntu’s are, is not taken for raw', async (context) => {
  const disk = join(temporaryFolder(context), 'ubuntu.img');
  run('qemu-img', 'create', '-q', '-f', 'qcow2', disk, '1M');
  for (const more of [[], ['--kernel-entry', 'list']]) {
    const { stderr, code } = await runTsvm(['boot', '--disk', disk, ...more]);
    assert.match(stderr, /begins like a qcow2 image, but its name says raw: use format=qcow2/);
    assert.equal(code, 125);
  }
});
