import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findPath } from '../../../../../vmm/loader/disk-boot/file-systems/find-path.ts';
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
const SIZE_MIB = 160;

const skip = cannotMount('btrfs', (path) => run('mkfs.btrfs', '-q', path));

function makeTree(context: TestContext): { folder: string; tree: string; image: string } {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  makeSampleTree(tree, { manyFiles: 400 });
  return { folder, tree, image: emptyImage(join(folder, 'image'), SIZE_MIB) };
}

/** Options of mkfs.btrfs and of the mount that fills it. */
const VARIANTS: Readonly<Record<string, readonly [mkfs: readonly string[], mount: string]>> = {
  'as it is made': [[], ''],
  'one copy of everything': [['-m', 'single', '-d', 'single'], ''],
  'mixed block groups': [['-M'], ''],
  'nodes of 4 KiB, so deeper trees': [['-n', '4096'], ''],
  'nodes of 64 KiB': [['-n', '65536'], ''],
  'compressed with zlib': [[], 'compress-force=zlib'],
  'compressed with lzo': [[], 'compress-force=lzo'],
  'compressed with zstd': [[], 'compress-force=zstd'],
  'without no-holes': [['-O', '^no-holes'], ''],
};

for (const [name, [mkfs, mount]] of Object.entries(VARIANTS)) {
  test(`btrfs, ${name}: everything reads as it was written`, { skip }, (context) => {
    const { tree, image } = makeTree(context);
    run('mkfs.btrfs', '-q', '-U', UUID, '-L', 'system', ...mkfs, image);
    whileMounted(image, mount, (mounted) => run('cp', '-a', `${tree}/.`, mounted));
    const fileSystem = openWhole(fileDisk(context, image));
    assert.equal(fileSystem.uuid, UUID);
    assert.equal(fileSystem.label, 'system');
    assertSameTree(fileSystem.roots[0].inode, tree);
  });
}

test('btrfs, as mkfs.btrfs fills it', (context) => {
  const { tree, image } = makeTree(context);
  run('mkfs.btrfs', '-q', '--rootdir', tree, image);
  assertSameTree(openWhole(fileDisk(context, image)).roots[0].inode, tree);
});

test('btrfs: compressed data really is', { skip }, (context) => {
  const { tree, image } = makeTree(context);
  for (const method of ['zlib', 'lzo', 'zstd']) {
    run('mkfs.btrfs', '-q', '-f', image);
    whileMounted(image, `compress-force=${method}`, (mounted) =>
      run('cp', '-a', `${tree}/.`, mounted),
    );
    const dump = run('btrfs', 'inspect-internal', 'dump-tree', '-t', '5', image);
    assert.match(dump, new RegExp(`extent compression \\d \\(${method}\\)`));
  }
});

test('btrfs: subvolumes, and the default one', { skip }, (context) => {
  const { tree, image } = makeTree(context);
  run('mkfs.btrfs', '-q', image);
  whileMounted(image, '', (mounted) => {
    for (const name of ['@', 'other']) run('btrfs', 'subvolume', 'create', join(mounted, name));
    run('cp', '-a', `${tree}/.`, join(mounted, '@'));
    run('cp', '-a', `${tree}/.`, join(mounted, 'other'));
    run('btrfs', 'subvolume', 'set-default', join(mounted, 'other'));
  });
  const fileSystem = openWhole(fileDisk(context, image));
  const [topLevel, ...others] = fileSystem.roots;
  assert.deepEqual(
    others.map(({ subvolume }) => subvolume),
    [undefined, '@'],
  );
  for (const { inode } of others) assertSameTree(inode, tree);
  assert.equal(findPath(fileSystem, topLevel, '/@/boot/text')?.kind, 'file');
});

test('btrfs raid1 with one device missing reads its own copy', { skip }, (context) => {
  const { folder, tree, image } = makeTree(context);
  const second = emptyImage(join(folder, 'second'), SIZE_MIB);
  run('mkfs.btrfs', '-q', '-m', 'raid1', '-d', 'raid1', image, second);
  const device = run('losetup', '--find', '--show', second).trim();
  try {
    run('btrfs', 'device', 'scan', device);
    whileMounted(image, `device=${device}`, (mounted) => run('cp', '-a', `${tree}/.`, mounted));
  } finally {
    run('losetup', '--detach', device);
  }
  for (const path of [image, second]) {
    assertSameTree(openWhole(fileDisk(context, path)).roots[0].inode, tree);
  }
});

test('btrfs raid0 over two devices is refused by name', (context) => {
  const { folder, image } = makeTree(context);
  const second = emptyImage(join(folder, 'second'), SIZE_MIB);
  run('mkfs.btrfs', '-q', '-f', '-m', 'raid0', '-d', 'raid0', image, second);
  assert.throws(() => openWhole(fileDisk(context, image)), /btrfs raid0 over several devices/);
});
