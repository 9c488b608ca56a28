import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  emptyImage,
  fileDisk,
  openWhole,
  run,
} from '../../../../support/disk-boot/file-system-images.ts';
import { assertSameTree, makeSampleTree } from '../../../../support/disk-boot/sample-tree.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

const UUID = '01234567-89ab-cdef-0123-456789abcdef';

/** Options of mke2fs for what differs in the layout. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  'ext2, blocks of 1 KiB': ['-t', 'ext2', '-b', '1024'],
  'ext2, revision 0': ['-t', 'ext2', '-r', '0', '-I', '128', '-O', 'none'],
  'ext3, blocks of 4 KiB': ['-t', 'ext3', '-b', '4096'],
  'ext4 as Debian makes it': ['-t', 'ext4'],
  'ext4, blocks of 1 KiB, 64bit off': ['-t', 'ext4', '-b', '1024', '-O', '^64bit'],
  'ext4, inline_data': ['-t', 'ext4', '-I', '512', '-O', 'inline_data'],
  'ext4, meta_bg': ['-t', 'ext4', '-b', '1024', '-g', '1024', '-O', 'meta_bg,^resize_inode'],
  'ext4, sparse_super2': ['-t', 'ext4', '-b', '1024', '-O', 'sparse_super2,meta_bg,^resize_inode'],
  'ext4, bigalloc': ['-t', 'ext4', '-O', 'bigalloc', '-C', '16384'],
  'ext4, blocks of 64 KiB': ['-t', 'ext4', '-b', '65536'],
};

for (const [name, options] of Object.entries(VARIANTS)) {
  test(`${name}: all files, links and directories read as they were written`, (context) => {
    const folder = temporaryFolder(context);
    const tree = join(folder, 'tree');
    mkdirSync(tree);
    makeSampleTree(tree);
    const image = emptyImage(join(folder, 'image'), options.includes('65536') ? 120 : 40);
    run('mke2fs', '-q', '-F', '-U', UUID, '-L', 'boot', '-d', tree, ...options, image);
    const fileSystem = openWhole(fileDisk(context, image));
    assert.equal(fileSystem.uuid, UUID);
    assert.equal(fileSystem.label, 'boot');
    assertSameTree(fileSystem.roots[0].inode, tree);
  });
}

test('ext4: directories with hash trees', (context) => {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  makeSampleTree(tree);
  const image = emptyImage(join(folder, 'image'), 40);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024', '-d', tree, image);
  run('e2fsck', '-fyD', image);
  const options = { encoding: 'utf8' } as const;
  const stat = execFileSync('debugfs', ['-R', 'stat /boot/grub/many', image], options);
  assert.match(stat, /Flags: 0x81000/, 'EXT4_INDEX_FL: the directory has a hash tree');
  assertSameTree(openWhole(fileDisk(context, image)).roots[0].inode, tree);
});

test('ext4: an extent tree of two levels', (context) => {
  const folder = temporaryFolder(context);
  const image = emptyImage(join(folder, 'image'), 16);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024', image);
  // Every second block, so that each is an extent.
  const source = join(folder, 'holes');
  const script = `for i in $(seq 0 2 900); do printf "block $i" |
    dd of=${source} bs=1024 seek=$i conv=notrunc status=none; done`;
  run('sh', '-c', script);
  run('debugfs', '-w', '-R', `write ${source} holes`, image);
  const extents = run('debugfs', '-R', 'ex /holes', image);
  assert.match(extents, /^ 2\/ 2/m, 'the tree has two levels');
  const [entry] = openWhole(fileDisk(context, image))
    .roots[0].inode.entries()
    .filter(({ name }) => name === 'holes');
  assert.ok(entry);
  assertSameTree(entry.open(), source);
});
