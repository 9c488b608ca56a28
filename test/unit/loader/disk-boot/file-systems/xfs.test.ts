import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  cannotMount,
  emptyImage,
  fileDisk,
  openWhole,
  run,
  whileMounted,
} from '../../../../support/disk-boot/file-system-images.ts';
import { assertSameTree, makeSampleTree } from '../../../../support/disk-boot/sample-tree.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';
const SIZE_MIB = 320;

const skip = cannotMount('XFS', (path) => run('mkfs.xfs', '-q', path));

/** Options of mkfs.xfs for what differs in the layout. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'version 5': [],
  'version 5, blocks of 1 KiB': ['-b', 'size=1024'],
  'version 5, large directory blocks': ['-b', 'size=1024', '-n', 'size=8192'],
  'version 5, large inodes, bigtime and counts of 64 bits': ['-i', 'size=2048,nrext64=1'],
};

for (const [name, options] of Object.entries(VARIANTS)) {
  test(`XFS, ${name}: everything reads as it was written`, { skip }, (context) => {
    const folder = temporaryFolder(context);
    const tree = join(folder, 'tree');
    mkdirSync(tree);
    makeSampleTree(tree);
    const image = emptyImage(join(folder, 'image'), SIZE_MIB);
    run('mkfs.xfs', '-q', '-m', `uuid=${UUID}`, '-L', 'boot', ...options, image);
    whileMounted(image, '', (mounted) => run('cp', '-a', `${tree}/.`, mounted));
    const fileSystem = openWhole(fileDisk(context, image));
    assert.equal(fileSystem.uuid, UUID);
    assert.equal(fileSystem.label, 'boot');
    assertSameTree(fileSystem.roots[0].inode, tree);
  });
}

/** A file of many extents. */
function makeFragmented(path: string): void {
  const script = `for i in $(seq 0 2 900); do printf "block $i" |
    dd of=${path} bs=4096 seek=$i conv=notrunc status=none; done`;
  run('sh', '-c', script);
}

test('XFS: a file whose extents are in a B+tree', { skip }, (context) => {
  const folder = temporaryFolder(context);
  const source = join(folder, 'fragmented');
  makeFragmented(source);
  const image = emptyImage(join(folder, 'image'), SIZE_MIB);
  run('mkfs.xfs', '-q', '-b', 'size=1024', image);
  whileMounted(image, '', (mounted) => makeFragmented(join(mounted, 'fragmented')));
  const inode = openWhole(fileDisk(context, image))
    .roots[0].inode.entries()
    .find(({ name }) => name === 'fragmented');
  const dump = run('xfs_db', '-r', '-c', 'path /fragmented', '-c', 'p core.format', image);
  assert.match(dump, /core.format = 3 \(btree\)/);
  assert.ok(inode);
  assertSameTree(inode.open(), source);
});

/** What mkfs.xfs itself can write, also where the kernel cannot mount it. */
function makeFromPrototype(context: TestContext, options: readonly string[]) {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(join(tree, 'boot'), { recursive: true });
  const lines = ['/', '0 0', 'd--755 0 0'];
  const words = 'kernel '.repeat(40_000);
  writeFileSync(join(tree, 'vmlinuz'), words);
  lines.push(`vmlinuz ---644 0 0 ${join(tree, 'vmlinuz')}`, 'boot d--755 0 0');
  for (let index = 0; index < 300; index++) {
    const name = `config-of-a-kernel-number-${index}`;
    writeFileSync(join(tree, 'boot', name), `${index}`);
    lines.push(`${name} ---644 0 0 ${join(tree, 'boot', name)}`);
  }
  lines.push('$', '$', '');
  const prototype = join(folder, 'prototype');
  writeFileSync(prototype, lines.join('\n'));
  const image = emptyImage(join(folder, 'image'), SIZE_MIB);
  run('mkfs.xfs', '-q', '-p', prototype, ...options, image);
  return { image, tree };
}

for (const [name, options] of Object.entries({
  'version 4': ['-m', 'crc=0', '-n', 'ftype=0'],
  'version 4 with file types': ['-m', 'crc=0', '-n', 'ftype=1'],
  'version 5': [],
})) {
  test(`XFS, ${name}, as mkfs.xfs fills it`, (context) => {
    const { image, tree } = makeFromPrototype(context, options);
    assertSameTree(openWhole(fileDisk(context, image)).roots[0].inode, tree);
  });
}
