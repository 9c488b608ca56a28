/** What a hostile layer could try: nothing leads out of the image, and what makes no sense is refused. */
import assert from 'node:assert/strict';
import { closeSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeRootfs } from '../../../../vmm/container/rootfs/build-rootfs.ts';
import { type Inode, isDirectory } from '../../../../vmm/container/rootfs/inode.ts';
import { MergedTree } from '../../../../vmm/container/rootfs/merged-tree.ts';
import { readTar } from '../../../../vmm/container/tar/reader.ts';
import { type MadeMember, makeTar } from '../../../support/tar-maker.ts';
import { temporaryFolder } from '../../../support/tsvm-process.ts';

function merge(t: TestContext, ...layers: (readonly MadeMember[] | Buffer)[]): MergedTree {
  const folder = temporaryFolder(t);
  const tree = new MergedTree();
  layers.forEach((members, layer) => {
    const path = join(folder, `${layer}.tar`);
    writeFileSync(path, Buffer.isBuffer(members) ? members : makeTar(members as MadeMember[]));
    const fd = openSync(path, 'r');
    try {
      tree.apply(readTar(fd), layer);
    } finally {
      closeSync(fd);
    }
  });
  return tree;
}

/** All paths, without their inodes. */
function paths(tree: MergedTree): string[] {
  const all: string[] = [];
  const visit = (inode: Inode, path: string): void => {
    if (!isDirectory(inode)) return;
    for (const [name, child] of inode.entries) {
      all.push(`${path}/${name}`);
      visit(child, `${path}/${name}`);
    }
  };
  visit(tree.root, '');
  return all.sort();
}

function refused(t: TestContext, message: RegExp, ...layers: (readonly MadeMember[] | Buffer)[]) {
  assert.throws(() => merge(t, ...layers), { code: 'invalid-image', message });
}

test('names with .. that lead out of the image are refused', (t) => {
  for (const name of ['..', '../x', 'a/../../x', '/../x', './../x', 'a/b/../../../etc/passwd']) {
    refused(t, /leads out of the image/, [{ name }]);
  }
  assert.deepEqual(paths(merge(t, [{ name: 'a/../b' }])), ['/b']);
});

test('absolute names begin at the image\u2019s root', (t) => {
  assert.deepEqual(paths(merge(t, [{ name: '/etc/passwd' }])), ['/etc', '/etc/passwd']);
});

test('symbolic links never lead out of the image', (t) => {
  for (const linkName of ['/etc', '../../../etc', '/../../etc', '../etc']) {
    const link = { name: 'link', type: '2', linkName };
    const tree = merge(t, [{ name: 'etc/', type: '5' }, link], [{ name: 'link/evil', data: 'x' }]);
    assert.deepEqual(paths(tree), ['/etc', '/etc/evil', '/link']);
  }
});

test('links in circles are refused', (t) => {
  const circle = [
    { name: 'a', type: '2', linkName: 'b' },
    { name: 'b', type: '2', linkName: 'a' },
  ];
  refused(t, /too many links/, [...circle, { name: 'a/x' }]);
  refused(t, /too many links/, [{ name: 'a', type: '2', linkName: 'a/a' }, { name: 'a/x' }]);
});

test('hard links do not lead out of the image', (t) => {
  const at = (linkName: string): MadeMember => ({ name: 'x', type: '1', linkName });
  refused(t, /leads out of the image/, [at('../../etc/passwd')]);
  refused(t, /hard link to a missing file/, [at('/etc/passwd')]);
  const link = { name: 'l', type: '2', linkName: '../../..' };
  refused(t, /hard link to a missing file/, [link, at('l/etc/passwd')]);
  refused(t, /hard link to a directory/, [at('/')]);
  refused(t, /hard link to a directory/, [{ name: 'd/', type: '5' }, at('d')]);
  refused(t, /hard link to a missing file/, [at('x')]);
});

test('device nodes are inodes of the image and nothing on the host', (t) => {
  const tree = merge(t, [{ name: 'sda', type: '4', device: [8, 0] }]);
  assert.equal(tree.root.entries.get('sda')?.deviceMajor, 8);
  refused(t, /device number that Linux does not have/, [
    { name: 'x', type: '3', device: [4096, 0] },
  ]);
});

test('whiteouts of the root, of . and of .. are refused', (t) => {
  for (const name of ['.wh.', '.wh..', '.wh...', 'a/.wh.', 'a/.wh..', 'a/.wh...']) {
    refused(t, /whiteout of no name/, [{ name: 'a/', type: '5' }], [{ name }]);
  }
  refused(t, /leads out of the image/, [{ name: '../.wh.etc' }]);
});

test('an opaque root hides all lower layers, and not its own', (t) => {
  const tree = merge(t, [{ name: 'old' }], [{ name: 'new' }, { name: '.wh..wh..opq' }]);
  assert.deepEqual(paths(tree), ['/new']);
});

test('a whiteout through a link stays in the image', (t) => {
  const lower = [{ name: 'etc/x' }, { name: 'l', type: '2', linkName: '../../etc' }];
  assert.deepEqual(paths(merge(t, lower, [{ name: 'l/.wh.x' }])), ['/etc', '/l']);
});

test('whiteouts hide lower layers, whether they come before or after the layer’s files', (t) => {
  const lower = [{ name: 'd/a' }, { name: 'd/b' }];
  assert.deepEqual(paths(merge(t, lower, [{ name: '.wh.d' }])), []);
  assert.deepEqual(paths(merge(t, lower, [{ name: 'd/a' }, { name: '.wh.d' }])), ['/d', '/d/a']);
  assert.deepEqual(paths(merge(t, lower, [{ name: '.wh.d' }, { name: 'd/c' }])), ['/d', '/d/c']);
  assert.deepEqual(paths(merge(t, lower, [{ name: 'd/.wh..wh..opq' }])), ['/d']);
  assert.deepEqual(paths(merge(t, lower, [{ name: '.wh..wh.plnk/1.2' }, { name: '.wh.none' }])), [
    '/.wh..wh.plnk',
    '/.wh..wh.plnk/1.2',
    '/d',
    '/d/a',
    '/d/b',
  ]);
});

test('the root cannot be anything but a directory', (t) => {
  for (const type of ['0', '2', '3', '6']) {
    refused(t, /replaces the root/, [{ name: '.', type, linkName: 'x' }]);
  }
});

test('of duplicate entries the last counts', (t) => {
  const tree = merge(t, [
    { name: 'x', data: 'one' },
    { name: 'x', data: 'longer' },
    { name: 'y/', type: '5' },
    { name: 'y/z' },
    { name: 'y', type: '2', linkName: 'x' },
  ]);
  assert.deepEqual(paths(tree), ['/x', '/y']);
  assert.equal(tree.root.entries.get('x')?.sizeBytes, 6);
  assert.equal(tree.root.entries.get('y')?.kind, 'symlink');
});

test('names in a folder that has been replaced meanwhile go where it leads now', (t) => {
  const folder = { name: 'a/', type: '5' };
  const link = { name: 'a', type: '2', linkName: 'b' };
  const other = { name: 'b/', type: '5' };
  assert.deepEqual(
    paths(merge(t, [folder, { name: 'a/1' }, { name: 'a/2' }, other, link, { name: 'a/3' }])),
    ['/a', '/b', '/b/3'],
  );
  const links = [other, { name: 'c/', type: '5' }, link, { name: 'a/1' }];
  assert.deepEqual(paths(merge(t, [...links, { ...link, linkName: 'c' }, { name: 'a/2' }])), [
    ...['/a', '/b', '/b/1', '/c', '/c/2'],
  ]);
  const whiteout = [{ name: 'a/2' }, { name: '.wh.a' }, { name: 'a/3' }];
  assert.deepEqual(paths(merge(t, [folder, { name: 'a/1' }], whiteout)), ['/a', '/a/2', '/a/3']);
  refused(t, /leads through something/, [{ name: 'a/1' }, { name: 'a' }, { name: 'a/2' }]);
  assert.deepEqual(paths(merge(t, [{ name: 'a/b/./c/', type: '5' }, { name: 'a/b/./c/d' }])), [
    ...['/a', '/a/b', '/a/b/c', '/a/b/c/d'],
  ]);
});

test('names, attributes and sparse maps without end are refused', (t) => {
  const pax = { 'SCHILY.xattr.user.x': 'x'.repeat(2 ** 20 - 100) };
  const member = makeTar([{ name: 'a', pax }], Buffer.alloc(0));
  refused(t, /take more than 256 MiB/, Buffer.concat(new Array(257).fill(member)));
});

test('a small layer of sparse files does not make a large metadata image', (t) => {
  const size = 2 ** 28;
  const pax = { 'GNU.sparse.size': String(size), 'GNU.sparse.map': '0,1' };
  const members = Array.from({ length: 4200 }, (_, index): MadeMember => {
    return { name: `${index}`, data: 'x', pax };
  });
  const path = join(temporaryFolder(t), 'layer.tar');
  writeFileSync(path, makeTar(members));
  const image = `${path}.erofs`;
  const fd = openSync(image, 'w');
  try {
    assert.throws(() => writeRootfs([path], fd, Buffer.alloc(16), 'referred'), {
      code: 'invalid-image',
      message: /take more than 1 GiB/,
    });
    assert.equal(statSync(image).size, 0);
  } finally {
    closeSync(fd);
  }
});

test('a name that leads through a file is refused', (t) => {
  refused(t, /leads through something that is no directory/, [{ name: 'f' }, { name: 'f/x' }]);
});

test('names longer than a file system allows are refused', (t) => {
  refused(t, /more than 255 bytes/, [{ name: 'n'.repeat(256) }]);
  refused(t, /longer than 4095 bytes/, [{ name: 'n/'.repeat(2048) }]);
  refused(t, /path of more than 4095 bytes/, [
    { name: 'l', type: '2', linkName: 'x'.repeat(4096) },
  ]);
});

test('names with a NUL in an extended header are refused', (t) => {
  refused(t, /has a NUL/, [{ name: 'a', pax: { path: 'a\0b' } }]);
});

test('archives that are cut off, or lie about lengths, are refused', (t) => {
  const whole = makeTar([{ name: 'a', data: 'x'.repeat(2000) }]);
  refused(t, /cut off in a member/, whole.subarray(0, 1024));
  refused(t, /cut off in a header/, whole.subarray(0, 300));
  refused(t, /cut off in a member/, [{ name: 'a', data: 'x', size: 2 ** 32 }]);
  refused(t, /a size is out of range/, [
    { name: 'a', spoil: (header) => header.fill(0x80, 124, 125).fill(0xff, 125, 136) },
  ]);
  refused(t, /a size is negative/, [{ name: 'a', spoil: (header) => header.fill(0xff, 124, 136) }]);
  refused(t, /a size is negative/, [{ name: 'a', pax: { size: '-1' } }]);
  refused(t, /a size is out of range/, [{ name: 'a', pax: { size: '99999999999999999999' } }]);
  refused(t, /a size is no octal number/, [
    { name: 'a', spoil: (header) => header.write('9', 124) },
  ]);
  refused(t, /extended header is too long/, [
    { name: 'x', type: 'x', data: 'x'.repeat(2 ** 20 + 1) },
  ]);
});

test('headers with a wrong checksum or of an unknown type are refused', (t) => {
  refused(t, /checksum of a header is wrong/, [
    { name: 'a', keepChecksum: true, spoil: (header) => header.write('b', 0) },
  ]);
  refused(t, /unknown type/, [{ name: 'a', type: 'Q' }]);
});

test('extended header records that lie about their length are refused', (t) => {
  for (const data of [
    '5 a=b\n',
    '99 a=b\n',
    '0 a=b\n',
    '-6 a=b\n',
    '6 a=bc',
    'x a=b\n',
    '6 ab=\n',
    '4 =\n',
  ]) {
    if (data === '6 ab=\n') continue;
    refused(t, /extended header record/, [{ name: 'x', type: 'x', data }, { name: 'a' }]);
  }
});

test('sparse maps that overlap, lie or do not end are refused', (t) => {
  const sparse = (map: string, size = '1000'): MadeMember[] => [
    { name: 'a', data: 'x'.repeat(600), pax: { 'GNU.sparse.size': size, 'GNU.sparse.map': map } },
  ];
  refused(t, /overlap/, sparse('0,100,50,100'));
  refused(t, /overlap, or lie outside/, sparse('900,200'));
  refused(t, /overlap, or lie outside/, sparse('0,-5'));
  refused(t, /more data than the member has/, sparse('0,700'));
  refused(t, /cut off/, sparse('0,1,2'));
  refused(t, /out of range/, sparse('0,x'));
  refused(t, /negative/, sparse('0,1', '-1'));
  refused(t, /does not end|out of range/, [
    { name: 'a', data: '9', pax: { 'GNU.sparse.major': '1', 'GNU.sparse.realsize': '10' } },
  ]);
  refused(t, /too many parts/, [
    {
      name: 'a',
      data: '99999999\n',
      pax: { 'GNU.sparse.major': '1', 'GNU.sparse.realsize': '10' },
    },
  ]);
});

test('user and group IDs that Linux does not have are refused', (t) => {
  refused(t, /ID is out of range/, [{ name: 'a', pax: { uid: '4294967296' } }]);
  refused(t, /ID is out of range/, [{ name: 'a', pax: { gid: '-1' } }]);
});
