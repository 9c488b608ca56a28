import assert from 'node:assert/strict';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { findPath } from '../../../../../vmm/loader/disk-boot/file-systems/find-path.ts';
import {
  emptyImage,
  fileDisk,
  openWhole,
  run,
} from '../../../../support/disk-boot/file-system-images.ts';
import { assertSameTree, makeSampleTree } from '../../../../support/disk-boot/sample-tree.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

/** Options of mkfs.vfat, and the image's size in MiB, which also decides the kind of FAT. */
const VARIANTS: Readonly<Record<string, readonly [sizeMib: number, ...options: string[]]>> = {
  FAT12: [16, '-F', '12', '-s', '16'],
  FAT16: [16, '-F', '16'],
  'FAT32, clusters of a sector': [40, '-F', '32', '-s', '1'],
  'FAT32, sectors of 4 KiB': [300, '-F', '32', '-S', '4096', '-s', '1'],
};

function makeFat(
  context: TestContext,
  [sizeMib, ...options]: readonly [number, ...string[]],
): { image: string; tree: string } {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  makeSampleTree(tree, { links: false, manyFiles: 150 });
  const image = emptyImage(join(folder, 'image'), sizeMib);
  run('mkfs.vfat', '-i', '1234abcd', '-n', 'ESP', ...options, image);
  const sources = readdirSync(tree).map((name) => join(tree, name));
  process.env['MTOOLS_SKIP_CHECK'] = '1';
  run('mcopy', '-i', image, '-s', '-Q', ...sources, '::/');
  return { image, tree };
}

for (const [name, variant] of Object.entries(VARIANTS)) {
  test(`${name}: all files and directories read as they were written`, (context) => {
    const { image, tree } = makeFat(context, variant);
    const fileSystem = openWhole(fileDisk(context, image));
    assert.equal(fileSystem.uuid, '1234-ABCD');
    assert.equal(fileSystem.label, 'ESP');
    assertSameTree(fileSystem.roots[0].inode, tree);
  });
}

test('FAT: names are found whatever their case', (context) => {
  const { image } = makeFat(context, [16, '-F', '16']);
  const fileSystem = openWhole(fileDisk(context, image));
  const found = findPath(fileSystem, fileSystem.roots[0], '/BOOT/VMLINUZ-6.1.0-13-AMD64');
  assert.equal(found?.kind, 'file');
});

test('FAT: short names as Windows and mtools write them', (context) => {
  const folder = temporaryFolder(context);
  const image = emptyImage(join(folder, 'image'), 16);
  run('mkfs.vfat', '-F', '16', image);
  for (const name of ['UPPER.TXT', 'lower.txt', 'Mixed.Txt', 'NOEXT']) {
    run('mcopy', '-i', image, '/dev/null', `::/${name}`);
  }
  run('mdel', '-i', image, '::/NOEXT');
  const names = openWhole(fileDisk(context, image))
    .roots[0].inode.entries()
    .map(({ name }) => name);
  assert.deepEqual(names.sort(), ['Mixed.Txt', 'UPPER.TXT', 'lower.txt']);
});
