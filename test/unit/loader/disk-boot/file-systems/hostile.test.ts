/** File systems that lie, each in its own way: an error that names what is wrong, and soon. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readKernel } from '../../../../../vmm/loader/disk-boot/disk-kernel.ts';
import { findFile } from '../../../../../vmm/loader/disk-boot/entries/searched-volume.ts';
import { findPath } from '../../../../../vmm/loader/disk-boot/file-systems/find-path.ts';
import {
  bytesDisk,
  cannotMount,
  emptyImage,
  openWhole,
  run,
  whileMounted,
} from '../../../../support/disk-boot/file-system-images.ts';
import { temporaryFolder } from '../../../../support/tsvm-process.ts';

const MIB = 2 ** 20;
const TIME_MS_MAX = 60_000;

/** Reads /vmlinuz of an image as a kernel is read. */
function readVmlinuz(image: Uint8Array): Uint8Array {
  const fileSystem = openWhole(bytesDisk(image));
  const volume = { name: 'the disk', use: 'other', grubDevice: 'hd0', partition: 0, fileSystem };
  const file = findFile({ ...volume, use: 'other' }, '/vmlinuz');
  if (file === undefined) throw new Error('there is no /vmlinuz');
  return readKernel(file);
}

function refusesSoon(image: Uint8Array, message: RegExp): void {
  const start = performance.now();
  assert.throws(() => readVmlinuz(image), { code: 'invalid-disk', message });
  assert.ok(performance.now() - start < TIME_MS_MAX, 'it takes too long');
}

/** An ext4 image with a /vmlinuz of 100 KiB, changed by commands of debugfs. */
function ext4(context: TestContext, ...commands: readonly string[]): Buffer {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'vmlinuz'), new Uint8Array(100_000).fill(7));
  const image = emptyImage(join(folder, 'image'), 8);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-b', '1024', '-O', '^metadata_csum', '-d', tree, image);
  for (const command of commands) run('debugfs', '-w', '-R', command, image);
  return readFileSync(image);
}

/** Words of i_block: an extent tree's header and its first entry. */
const header = (entries: number, depth: number) => [
  `sif /vmlinuz block[0] ${0xf30a + entries * 2 ** 16}`,
  `sif /vmlinuz block[1] ${4 + depth * 2 ** 16}`,
];

test('ext4: an extent outside the volume', (context) => {
  const image = ext4(context, 'sif /vmlinuz block[5] 0xfffffff0');
  refusesSoon(image, /inode 12: .* exceed/);
});

test('ext4: extents that overlap', (context) => {
  const image = ext4(
    context,
    ...header(2, 0),
    'sif /vmlinuz block[6] 1',
    'sif /vmlinuz block[7] 5',
  );
  refusesSoon(image, /inode 12: extents overlap/);
});

test('ext4: more extents than there is room for', (context) => {
  refusesSoon(ext4(context, ...header(0xffff, 0)), /exceed its 60 bytes|overlap/);
});

test('ext4: an extent tree that leads back to itself', (context) => {
  const block = 5000;
  const image = ext4(
    context,
    ...header(1, 5),
    `sif /vmlinuz block[4] ${block}`,
    'sif /vmlinuz block[5] 0',
  );
  // A node of the same depth, whose only child is itself.
  const node = Buffer.alloc(1024);
  node.writeUInt16LE(0xf30a, 0);
  node.writeUInt16LE(1, 2);
  node.writeUInt16LE(80, 4);
  node.writeUInt16LE(4, 6);
  node.writeUInt32LE(block, 16);
  node.copy(image, block * 1024);
  refusesSoon(image, /depth 4 where at most 3/);
});

test('ext4: a kernel of 16 TiB', (context) => {
  const image = ext4(context, 'sif /vmlinuz size 0xfffffffffff');
  refusesSoon(image, /vmlinuz has 17592186044415 bytes, which is no size of a kernel/);
});

test('ext4: unknown features, encrypted files, inodes that are not there', (context) => {
  refusesSoon(ext4(context, 'ssv feature_incompat 0x800002c2'), /with the feature 0x80000000/);
  refusesSoon(ext4(context, 'ssv feature_incompat 0x2c3'), /with the feature compression/);
  refusesSoon(ext4(context, 'sif /vmlinuz flags 0x80800'), /inode 12 is encrypted/);
  refusesSoon(ext4(context, 'ssv inodes_count 5'), /there is no inode 12/);
  refusesSoon(ext4(context, 'ssv inodes_per_group 0'), /groups without inodes/);
  refusesSoon(ext4(context, 'ssv inode_size 3'), /inodes of 3 bytes/);
  refusesSoon(ext4(context, 'ssv log_block_size 900'), /blocks of 2\^910 bytes/);
});

test('ext4: a directory of 1 TiB, and one whose entries have no length', (context) => {
  refusesSoon(ext4(context, 'sif / size 0x10000000000'), /a directory of 1099511627776 bytes/);
  const image = ext4(context);
  const at = image.indexOf('vmlinuz', 2048) - 8;
  image.writeUInt16LE(0, at + 4);
  assert.throws(() => readVmlinuz(image), /there is no \/vmlinuz/);
});

test('ext2: indirect blocks that are their own children', (context) => {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  writeFileSync(join(tree, 'vmlinuz'), new Uint8Array(100_000).fill(7));
  const path = emptyImage(join(folder, 'image'), 8);
  run('mke2fs', '-q', '-F', '-t', 'ext2', '-b', '1024', '-d', tree, path);
  const block = 5000;
  for (const level of [12, 13, 14])
    run('debugfs', '-w', '-R', `sif /vmlinuz block[${level}] ${block}`, path);
  run('debugfs', '-w', '-R', `sif /vmlinuz size ${400 * MIB}`, path);
  const image = readFileSync(path);
  for (let at = 0; at < 1024; at += 4) image.writeUInt32LE(block, block * 1024 + at);
  // It is a file, of the same blocks again and again; but not forever.
  const start = performance.now();
  try {
    readVmlinuz(image);
  } catch (error) {
    assert.match(String(error), /extents|loop/);
  }
  assert.ok(performance.now() - start < TIME_MS_MAX);
});

interface Fat {
  readonly image: Buffer;
  readonly table: number;
  /** Where the entry of the file is, and its first cluster. */
  readonly entry: number;
  readonly first: number;
}

function fat16(context: TestContext): Fat {
  const path = emptyImage(join(temporaryFolder(context), 'image'), 16);
  run('mkfs.vfat', '-F', '16', path);
  const file = `${path}.file`;
  writeFileSync(file, new Uint8Array(100_000).fill(7));
  run('mcopy', '-i', path, file, '::/vmlinuz');
  const image = readFileSync(path);
  const entry = image.indexOf('VMLINUZ    ', 0, 'latin1');
  return {
    image,
    table: image.readUInt16LE(14) * image.readUInt16LE(11),
    entry,
    first: image.readUInt16LE(entry + 26),
  };
}

test('FAT: a chain that loops, leaves the volume, ends early', (context) => {
  const { image, table, first } = fat16(context);
  const changed = (next: number): Buffer => {
    const copy = Buffer.from(image);
    copy.writeUInt16LE(next, table + (first + 3) * 2);
    return copy;
  };
  assert.equal(readVmlinuz(image).length, 100_000);
  // The file needs no more clusters than its size says, so that a loop ends there.
  assert.equal(readVmlinuz(changed(first)).length, 100_000);
  refusesSoon(changed(0xfff0), /vmlinuz: there is no cluster 65520/);
  refusesSoon(changed(0), /vmlinuz: there is no cluster 0/);
  refusesSoon(changed(0xffff), /vmlinuz has fewer clusters than its size needs/);
});

test('FAT: a file of 4 GiB, a directory that is its own child, a directory that loops', (context) => {
  const { image, table, entry, first } = fat16(context);
  const large = Buffer.from(image);
  large.writeUInt32LE(0xffffffff, entry + 28);
  refusesSoon(large, /no size of a kernel/);
  const directory = Buffer.from(image);
  directory.writeUInt8(0x10, entry + 11);
  directory.writeUInt16LE(0, entry + 26);
  const fileSystem = openWhole(bytesDisk(directory));
  const deep = findPath(fileSystem, fileSystem.roots[0], '/vmlinuz'.repeat(100));
  assert.equal(deep?.kind, 'directory');
  const loop = Buffer.from(image);
  loop.writeUInt8(0x10, entry + 11);
  loop.writeUInt16LE(first, table + first * 2);
  const start = performance.now();
  openWhole(bytesDisk(loop)).roots[0].inode.entries()[0]?.open().entries();
  assert.ok(performance.now() - start < TIME_MS_MAX);
});

const xfsSkip = cannotMount('XFS', (path) => run('mkfs.xfs', '-q', path));

/** An XFS image with a /vmlinuz, and the place of its inode. */
function xfs(context: TestContext): { image: Buffer; inode: number } {
  const path = emptyImage(join(temporaryFolder(context), 'image'), 320);
  run('mkfs.xfs', '-q', path);
  whileMounted(path, '', (mounted) => {
    writeFileSync(join(mounted, 'vmlinuz'), new Uint8Array(100_000).fill(7));
  });
  const place = run('xfs_db', '-r', '-c', 'path /vmlinuz', '-c', 'daddr', path);
  const sector = Number(/\d+/.exec(place)?.[0]);
  const text = run('xfs_db', '-r', '-c', 'path /vmlinuz', '-c', 'p v3.inumber', path);
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(/= (\d+)/.exec(text)?.[1] ?? 0));
  const image = readFileSync(path);
  // di_ino is at 152 of an inode.
  const inode = image.indexOf(number, sector * 512 + 152) - 152;
  assert.equal(image.toString('latin1', inode, inode + 2), 'IN');
  return { image, inode };
}

test('XFS: sizes, counts, forms, places and features that lie', { skip: xfsSkip }, (context) => {
  const { image, inode } = xfs(context);
  const cases: [change: (at: number) => void, message: RegExp][] = [
    [(at) => image.writeBigUInt64BE(2n ** 60n, at + 56), /out of range/],
    [(at) => image.writeBigUInt64BE(2n ** 40n, at + 56), /no size of a kernel/],
    [(at) => image.writeUInt32BE(0xffffffff, at + 76), /exceed|no block|overlap/],
    [(at) => image.writeUInt8(9, at + 5), /unknown form 9/],
    [(at) => image.fill(0xff, at + 176, at + 192), /no block|out of order/],
    [(at) => image.writeUInt8(3, at + 5), /an extent tree of \d+ levels/],
    [(at) => image.write('XX', at), /not an inode/],
    [() => image.writeUInt32BE(0x40000001, 216), /XFS with the feature 0x40000000/],
    [() => image.writeUInt32BE(0x11, 216), /needsrepair/],
    [() => image.writeUInt8(60, 120), /the logarithm 60 at 120/],
    [() => image.writeUInt32BE(0, 84), /sizes contradict/],
    [() => image.writeBigUInt64BE(2n ** 52n, 56), /there is no block/],
  ];
  const places: readonly number[] = [0, inode];
  for (const [change, message] of cases) {
    const saved = places.map((at) => Buffer.from(image.subarray(at, at + 512)));
    change(inode);
    refusesSoon(image, message);
    for (const [index, at] of places.entries()) saved[index]?.copy(image, at);
  }
  assert.equal(readVmlinuz(image).length, 100_000);
});

test('XFS: an extent tree that leads back to itself', { skip: xfsSkip }, (context) => {
  const { image, inode } = xfs(context);
  const block = 5000;
  const fork = inode + 176;
  const forkRoom = Math.floor((512 - 176 - 4) / 16);
  image.writeUInt8(3, inode + 5);
  image.writeUInt8(0, inode + 82);
  image.fill(0, fork, inode + 512);
  image.writeUInt16BE(5, fork);
  image.writeUInt16BE(1, fork + 2);
  image.writeBigUInt64BE(BigInt(block), fork + 4 + forkRoom * 8);
  const node = block * 4096;
  const nodeRoom = Math.floor((4096 - 72) / 16);
  image.write('BMA3', node);
  image.writeUInt16BE(4, node + 4);
  image.writeUInt16BE(1, node + 6);
  image.writeBigUInt64BE(BigInt(block), node + 72 + nodeRoom * 8);
  refusesSoon(image, /block 5000 is not a node of level 3/);
});

const btrfsSkip = cannotMount('btrfs', (path) => run('mkfs.btrfs', '-q', path));

function btrfs(context: TestContext, mount = ''): Buffer {
  const path = emptyImage(join(temporaryFolder(context), 'image'), 40);
  run('mkfs.btrfs', '-q', '-M', path);
  whileMounted(path, mount, (mounted) => {
    writeFileSync(join(mounted, 'vmlinuz'), 'the kernel '.repeat(20_000));
  });
  return readFileSync(path);
}

const SUPERBLOCK = 65_536;

test('btrfs: roots, levels and sizes that lie', { skip: btrfsSkip }, (context) => {
  const image = btrfs(context);
  const cases: [change: (bytes: Buffer) => void, message: RegExp][] = [
    [(bytes) => bytes.writeBigUInt64LE(2n ** 62n, SUPERBLOCK + 0x50), /out of range/],
    [(bytes) => bytes.writeBigUInt64LE(2n ** 50n, SUPERBLOCK + 0x50), /no chunk has/],
    [(bytes) => bytes.writeBigUInt64LE(2n ** 50n, SUPERBLOCK + 0x58), /no chunk has/],
    [(bytes) => bytes.writeUInt8(200, SUPERBLOCK + 0xc6), /a tree of 200 levels/],
    [(bytes) => bytes.writeUInt8(3, SUPERBLOCK + 0xc6), /not the node of level 3/],
    [(bytes) => bytes.writeUInt32LE(3, SUPERBLOCK + 0x94), /a sector or node of 3 bytes/],
    [(bytes) => bytes.writeUInt32LE(2 ** 31, SUPERBLOCK + 0x94), /a sector or node of/],
    [(bytes) => bytes.writeUInt32LE(2 ** 31, SUPERBLOCK + 0xa0), /bytes of system chunks/],
    [(bytes) => bytes.writeUInt32LE(0, SUPERBLOCK + 0xa0), /no chunk has/],
    [(bytes) => bytes.writeUInt32LE(0x2000, SUPERBLOCK + 0xbc), /feature extent-tree-v2/],
  ];
  for (const [change, message] of cases) {
    const copy = Buffer.from(image);
    change(copy);
    refusesSoon(copy, message);
  }
});

test('btrfs: compressed extents that unpack to too much, or not at all', {
  skip: btrfsSkip,
}, (context) => {
  for (const method of ['zlib', 'lzo', 'zstd']) {
    const image = btrfs(context, `compress-force=${method}`);
    const text = Buffer.from(readVmlinuz(image)).toString();
    assert.equal(text, 'the kernel '.repeat(20_000));
    // struct btrfs_file_extent_item: ram_bytes of 128 KiB, then the method, no encryption.
    const needle = Buffer.alloc(13);
    needle.writeBigUInt64LE(131072n, 0);
    needle.writeUInt8({ zlib: 1, lzo: 2, zstd: 3 }[method] ?? 0, 8);
    needle.writeUInt8(1, 12);
    for (const [size, message] of [
      [2n ** 40n, /unpacks to 1099511627776 bytes/],
      [4096n, /cannot be unpacked|fewer|.*/],
    ] as const) {
      const copy = Buffer.from(image);
      for (let at = copy.indexOf(needle); at >= 0; at = copy.indexOf(needle, at + 1)) {
        copy.writeBigUInt64LE(size, at);
      }
      const start = performance.now();
      try {
        const content = readVmlinuz(copy);
        assert.ok(size === 4096n && content.length === text.length, method);
      } catch (error) {
        assert.match(String(error), message);
      }
      assert.ok(performance.now() - start < TIME_MS_MAX);
    }
  }
});

test('links in circles, to themselves and out of the file system lead nowhere', (context) => {
  const folder = temporaryFolder(context);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  for (const [name, target] of Object.entries({
    a: 'b',
    b: 'a',
    self: 'self/self/self',
    up: '../../../../../etc/passwd',
    absolute: '/etc/passwd',
    wide: 'self/'.repeat(190),
  })) {
    run('ln', '-s', target, join(tree, name));
  }
  const image = emptyImage(join(folder, 'image'), 4);
  run('mke2fs', '-q', '-F', '-t', 'ext4', '-d', tree, image);
  const fileSystem = openWhole(bytesDisk(readFileSync(image)));
  for (const name of ['a', 'b', 'self', 'up', 'absolute', 'wide', 'a/b', '../../a', '']) {
    const found = findPath(fileSystem, fileSystem.roots[0], `/${name}`);
    assert.equal(found?.kind, name === '' ? 'directory' : undefined, name);
  }
});
