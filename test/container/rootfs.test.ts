/** Root file systems as the kernel sees them, against umoci's. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { unpackDebianPackage } from '../support/debian-packages.ts';
import { makeImage, writeLayout } from '../support/image-maker.ts';
import { wholeDisk, withMounted, writeLayers, writeMetadata } from '../support/mounted-rootfs.ts';
import { compareTrees, readTree, type TreeEntry } from '../support/mounted-tree.ts';
import { type MadeMember, makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';
import { checkSeed, umociUnpack } from './umoci-trees.ts';

const SEEDS = Number(process.env['TSVM_ROOTFS_SEEDS'] ?? 200);

test(`${SEEDS} generated images equal what umoci unpacks`, () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const differences = checkSeed(seed);
    assert.deepEqual(differences, [], `node test/container/umoci-trees.ts 1 ${seed}`);
  }
});

function compareWithUmoci(
  t: TestContext,
  layers: readonly Buffer[],
  check: (root: string, tree: ReadonlyMap<string, TreeEntry>) => void = () => {},
): void {
  const folder = temporaryFolder(t);
  const layout = join(folder, 'layout');
  mkdirSync(layout);
  writeLayout(layout, makeImage({ layers, packing: 'none' }));
  const expected = readTree(umociUnpack(folder, layout));
  const disk = wholeDisk(folder, writeLayers(folder, layers));
  withMounted(folder, disk, (root) => {
    const tree = readTree(root);
    assert.deepEqual(compareTrees(tree, expected), []);
    check(root, tree);
  });
}

test('content of real images: Debian packages unpacked over one another', (t) => {
  const folder = temporaryFolder(t);
  const layers = ['dash', 'libc6', 'python3-minimal', 'nginx-light'].map((name) => {
    const tree = join(folder, name);
    unpackDebianPackage(name, tree);
    return execFileSync('tar', ['--format=pax', '--sort=name', '-C', tree, '-c', '.'], {
      maxBuffer: 2 ** 28,
    });
  });
  compareWithUmoci(t, layers);
});

test('40 layers', (t) => {
  const layers = Array.from({ length: 40 }, (_, index) =>
    makeTar([
      { name: './', type: '5', mtime: 5 },
      { name: 'dir/', type: '5', mtime: 5, mode: 0o700 + index },
      { name: `dir/file-${index}`, data: `${index}` },
      { name: 'same', data: `${index}`, mode: 0o600 },
      ...(index % 3 === 2 ? [{ name: `dir/.wh.file-${index - 1}` }] : []),
      ...(index === 20 ? [{ name: 'dir/.wh..wh..opq' }] : []),
    ]),
  );
  compareWithUmoci(t, layers, (root) => {
    assert.equal(readFileSync(join(root, 'same'), 'utf8'), '39');
  });
});

test('file capabilities, ACLs and attributes of all lengths', (t) => {
  const capability =
    '\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00';
  const pax = Object.fromEntries(
    [1, 2, 3, 4, 255, 1000, 1500].map((length) => [
      `SCHILY.xattr.trusted.l${length}`,
      'v'.repeat(length),
    ]),
  );
  compareWithUmoci(t, [
    makeTar([
      { name: './', type: '5', pax: { 'SCHILY.xattr.trusted.root': 'r' } },
      {
        name: 'ping',
        data: 'x',
        mode: 0o755,
        pax: { 'SCHILY.xattr.security.capability': capability },
      },
      { name: 'many', data: 'x', pax },
      { name: 'dir/', type: '5', pax },
    ]),
  ]);
});

test('hard links within a layer and across layers', (t) => {
  const link = (name: string, linkName: string): MadeMember => ({ name, type: '1', linkName });
  const root: MadeMember = { name: './', type: '5' };
  compareWithUmoci(
    t,
    [
      makeTar([
        root,
        { name: 'd/', type: '5' },
        { name: 'd/a', data: 'one' },
        link('d/b', 'd/a'),
        link('c', './d/a'),
      ]),
      makeTar([root, link('e', 'c'), { name: 'c', data: 'two' }]),
      makeTar([root, link('f', 'e'), { name: 'd/', type: '5' }, { name: 'd/.wh.a' }]),
    ],
    (root, tree) => {
      assert.equal(tree.get('e')?.nlink, 3n);
      assert.equal(readFileSync(join(root, 'f'), 'utf8'), 'one');
    },
  );
});

test('100,000 files in a directory', (t) => {
  const folder = temporaryFolder(t);
  const members: MadeMember[] = [{ name: 'd/', type: '5' }];
  for (let index = 0; index < 100_000; index++) members.push({ name: `d/file-${index}` });
  const layers = writeLayers(folder, [makeTar(members)]);
  withMounted(folder, wholeDisk(folder, layers), (root) => {
    const names = execFileSync('ls', [join(root, 'd')], { maxBuffer: 2 ** 26, encoding: 'utf8' });
    assert.equal(names.trimEnd().split('\n').length, 100_000);
    for (const index of [0, 1, 77_777, 99_999]) statSync(join(root, `d/file-${index}`));
    assert.throws(() => statSync(join(root, 'd/file-100000')), { code: 'ENOENT' });
  });
});

test('a file of more than 4 GiB', (t) => {
  const folder = temporaryFolder(t);
  const size = 5 * 2 ** 30 + 7;
  const head = makeTar([{ name: 'large', size }], Buffer.alloc(0));
  const writeLayer = (path: string, start: number): string => {
    const fd = openSync(path, 'r+');
    writeSync(fd, head, 0, head.length, start);
    writeSync(fd, 'begin', start + head.length);
    writeSync(fd, 'end', start + head.length + size - 3);
    writeSync(fd, Buffer.alloc(1024), 0, 1024, start + head.length + Math.ceil(size / 512) * 512);
    closeSync(fd);
    return path;
  };
  const [empty = ''] = writeLayers(folder, [Buffer.alloc(0)]);
  const disk = writeMetadata(folder, [writeLayer(empty, 0)]);
  writeLayer(disk, statSync(disk).size);
  withMounted(folder, disk, (root) => {
    const large = join(root, 'large');
    assert.equal(statSync(large).size, size);
    assert.equal(execFileSync('tail', ['-c', '3', large], { encoding: 'utf8' }), 'end');
    assert.equal(execFileSync('head', ['-c', '5', large], { encoding: 'utf8' }), 'begin');
  });
});

for (const [format, version] of [
  ['gnu', ''],
  ['pax', '0.0'],
  ['pax', '0.1'],
  ['pax', '1.0'],
] as const) {
  test(`sparse files as GNU tar writes them: ${format} ${version}`, (t) => {
    const folder = temporaryFolder(t);
    const tree = join(folder, 'tree');
    mkdirSync(tree);
    for (const [name, size, offsets] of [
      ['holes', 10_000_000, [0, 5000, 70_000, 9_999_000]],
      ['end', 1_000_000, [999_999]],
      ['empty', 4_194_304, []],
      ['many', 20_000_000, Array.from({ length: 100 }, (_, index) => index * 200_000)],
    ] as const) {
      execFileSync('truncate', ['-s', String(size), join(tree, name)]);
      const fd = openSync(join(tree, name), 'r+');
      for (const offset of offsets) writeSync(fd, `at ${offset}`.slice(0, size - offset), offset);
      closeSync(fd);
    }
    writeFileSync(join(tree, 'after'), 'not sparse');
    const options = version === '' ? [] : [`--sparse-version=${version}`];
    const path = join(folder, 'layer.tar');
    execFileSync('tar', ['-S', `--format=${format}`, ...options, '-C', tree, '-cf', path, '.']);
    assert.ok(statSync(path).size < 5_000_000);
    const expected = readTree(tree);
    withMounted(folder, wholeDisk(folder, [path]), (root) => {
      const ignore = (_: string, field: string) => field === 'mtimeNs' && format === 'gnu';
      assert.deepEqual(compareTrees(readTree(root), expected, ignore), []);
    });
    execFileSync('fsck.erofs', [writeMetadata(folder, [path], 'copied')], { stdio: 'pipe' });
  });
}

test('names as GNU tar\u2019s own format has them, of any bytes and lengths', (t) => {
  const folder = temporaryFolder(t);
  const tree = join(folder, 'tree');
  mkdirSync(tree);
  const deep = `${'d'.repeat(200)}/${'e'.repeat(255)}`;
  mkdirSync(join(tree, deep), { recursive: true });
  const name = Buffer.concat([
    Buffer.from(join(tree, deep, 'n')),
    Buffer.from([0xff, 0xfe, 0x0a, 0x80]),
  ]);
  writeFileSync(name, 'odd');
  execFileSync('ln', ['-s', 't'.repeat(4095), join(tree, 'link')]);
  const path = join(folder, 'layer.tar');
  execFileSync('tar', ['--format=gnu', '-C', tree, '-cf', path, '.']);
  withMounted(folder, wholeDisk(folder, [path]), (root) => {
    const ignore = (_: string, field: string) => field === 'mtimeNs';
    assert.deepEqual(compareTrees(readTree(root), readTree(tree), ignore), []);
  });
});

test('the same layers give the same bytes, and no time or host is in them', (t) => {
  const layers = [
    makeTar([{ name: 'b' }, { name: 'a', data: 'x' }]),
    makeTar([{ name: 'c/', type: '5' }]),
  ];
  const images = [1, 2].map(() => {
    const folder = temporaryFolder(t);
    return readFileSync(writeMetadata(folder, writeLayers(folder, layers)));
  });
  assert.deepEqual(images[0], images[1]);
});
