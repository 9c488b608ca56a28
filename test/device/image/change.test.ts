/** The verbs that change images: create, resize, snapshot, commit, rebase, bench; and compare. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { openHostFile } from '../../../vmm/backends/disk/file/host-file.ts';
import { hostFiles } from '../../../vmm/host/host-files.ts';
import { TSVM } from '../../support/tsvm-process.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
beforeEach(() => folder.makeChain());
after(() => folder.remove());

async function backingOf(name: string): Promise<string | undefined> {
  return JSON.parse(await folder.qemuOutput('info', '--output=json', `%${name}`))[
    'backing-filename'
  ];
}

test('create: the same image and the same output as qemu-img', async () => {
  for (const [name, size, ...args] of [
    ['new.qcow2', '10M', '-f', 'qcow2'],
    ['new.qcow2', '1.5G', '-f', 'qcow2', '-o', 'cluster_size=2M,compression_type=zstd'],
    ['new.qcow2', '5M', '-f', 'qcow2', '-o', 'preallocation=metadata'],
    ['new.qcow2', '5M', '-f', 'qcow2', '-o', 'extended_l2=on,lazy_refcounts=on,refcount_bits=64'],
    ['new.qcow2', '1000', '-f', 'qcow2', '-b', 'base.qcow2', '-F', 'qcow2'],
    ['new.raw', '1000', '-f', 'raw'],
  ] as const) {
    const command = ['create', ...args, `%${name}`, size];
    const ours = await folder.tsvmOutput(...command);
    const info = () => folder.qemuOutput('info', '-f', args[1], `%${name}`);
    const oursInfo = await info();
    if (name.endsWith('.qcow2')) await folder.qemuOutput('check', '-q', `%${name}`);
    assert.equal(ours, await folder.qemuOutput(...command));
    const withoutDiskSize = (text: string) => text.replace(/^disk size.*$/m, '');
    assert.equal(withoutDiskSize(oursInfo), withoutDiskSize(await info()));
  }
});

test('create: the size of the backing file, and refused options', async () => {
  await folder.tsvmOutput('create', '-q', '-b', 'base.qcow2', '%over.qcow2');
  assert.match(await folder.qemuOutput('info', '%over.qcow2'), /\(25165824 bytes\)/);
  for (const [args, reason] of [
    [['%x.qcow2'], /size is missing/],
    [['-f', 'raw', '-b', 'base.qcow2', '%x.raw'], /no backing file/],
    [['-b', 'gone.qcow2', '%x.qcow2'], /gone\.qcow2 cannot be opened/],
    [['-b', 'top.raw', '%x.qcow2'], undefined],
    [['-b', 'base', '%x.qcow2', '1M'], /use -F/],
    [['%x.qcow2', '1Z'], /k, M, G/],
    [['%x.qcow2', '8P'], /less than 8P/],
    [['-o', 'compat=0.10,extended_l2=on', '%x.qcow2', '1M'], /compat=1\.1/],
  ] as const) {
    const { code, stderr } = await folder.tsvm(['create', ...args]);
    assert.equal(code, reason === undefined ? 0 : 1, args.join(' '));
    if (reason !== undefined) assert.match(stderr, reason);
  }
  assert.match(
    await folder.tsvmOutput('create', '-f', 'qcow2', '-o', 'help'),
    /cluster_size=<size>/,
  );
  assert.deepEqual(
    readdirSync(folder.path).filter((name) => name.includes('partial')),
    [],
  );
});

test('resize: grow and shrink, by difference, and no loss without --shrink', async () => {
  for (const name of ['top.qcow2', 'top.raw']) {
    const size = async () =>
      JSON.parse(await folder.tsvmOutput('info', '--output=json', `%${name}`))['virtual-size'];
    assert.equal(await folder.tsvmOutput('resize', `%${name}`, '+8M'), 'Image resized.\n');
    assert.equal(await size(), 40 * 2 ** 20);
    const refused = await folder.tsvm(['resize', `%${name}`, '-10M']);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /--shrink/);
    for (const nothing of ['0', '-40M', '-41M']) {
      const { code, stderr } = await folder.tsvm(['resize', '--shrink', `%${name}`, nothing]);
      assert.equal(code, 1);
      assert.match(stderr, /must be positive/);
    }
    await folder.tsvmOutput('resize', '--shrink', `%${name}`, '-10M');
    await folder.tsvmOutput('resize', '-q', '--preallocation', 'off', `%${name}`, '31M');
    assert.equal(await size(), 31 * 2 ** 20);
  }
  await folder.assertSame('top.raw', 'top.qcow2');
  const base = statSync(folder.file('base.qcow2')).blocks;
  await folder.tsvmOutput('resize', '--preallocation=falloc', '%base.qcow2', '28M');
  assert.ok(statSync(folder.file('base.qcow2')).blocks >= base + (4 * 2 ** 20) / 512);
});

test('snapshot: taken, applied and deleted', async () => {
  await folder.tsvmOutput('snapshot', '-c', 'now', '%top.qcow2');
  assert.match(await folder.qemuOutput('snapshot', '-l', '%top.qcow2'), /^2 +now /m);
  folder.write('top.qcow2', 'write -P 77 0 1M');
  await folder.tsvmOutput('snapshot', '-a', 'now', '%top.qcow2');
  await folder.assertSame('top.raw', 'top.qcow2');
  await folder.tsvmOutput('snapshot', '-d', 'before', '%top.qcow2');
  await folder.tsvmOutput('snapshot', '-d', 'now', '%top.qcow2');
  assert.equal(await folder.tsvmOutput('snapshot', '%top.qcow2'), '');
  await folder.assertSame('top.raw', 'top.qcow2');
  assert.equal((await folder.tsvm(['snapshot', '-a', 'now', '%top.qcow2'])).code, 1);
  assert.equal((await folder.tsvm(['snapshot', '-c', 'now', '%top.raw'])).code, 1);
});

test('commit: into the backing image, which empties the image', async () => {
  assert.equal(await folder.tsvmOutput('commit', '%top.qcow2'), 'Image committed.\n');
  await folder.assertSame('top.raw', 'middle.qcow2');
  await folder.assertSame('top.raw', 'top.qcow2');
  const map = JSON.parse(await folder.qemuOutput('map', '--output=json', '%top.qcow2'));
  assert.ok(map.every(({ depth, present }: never) => depth > 0 || !present));
});

test('commit: with -d the image does not change, with -b another image is written', async () => {
  const before = statSync(folder.file('top.qcow2')).mtimeMs;
  await folder.tsvmOutput('commit', '-d', '-q', '%top.qcow2');
  await folder.assertSame('top.raw', 'middle.qcow2');
  assert.equal(statSync(folder.file('top.qcow2')).mtimeMs, before);
  await folder.makeChain();
  await folder.tsvmOutput('commit', '-b', '%base.qcow2', '%top.qcow2');
  await folder.assertSame('top.raw', 'base.qcow2');
  await folder.assertSame('top.raw', 'top.qcow2');
  const wrong = await folder.tsvm(['commit', '-b', '%top.raw', '%top.qcow2']);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /not in the backing chain/);
  assert.match((await folder.tsvm(['commit', '%base.qcow2'])).stderr, /no backing file/);
});

test('rebase: the content stays the same with any backing file', async () => {
  await folder.tsvmOutput('rebase', '-b', 'base.qcow2', '-F', 'qcow2', '%top.qcow2');
  assert.equal(await backingOf('top.qcow2'), 'base.qcow2');
  await folder.assertSame('top.raw', 'top.qcow2');
  await folder.tsvmOutput('rebase', '-b', '', '%top.qcow2');
  assert.equal(await backingOf('top.qcow2'), undefined);
  await folder.assertSame('top.raw', 'top.qcow2');
  await folder.tsvmOutput('rebase', '-p', '-b', 'middle.qcow2', '%top.qcow2');
  assert.equal(await backingOf('top.qcow2'), 'middle.qcow2');
  await folder.assertSame('top.raw', 'top.qcow2');
});

test('rebase -u changes the name only', async () => {
  copyFileSync(folder.file('middle.qcow2'), folder.file('moved.qcow2'));
  await folder.tsvmOutput('rebase', '-u', '-b', 'moved.qcow2', '%top.qcow2');
  assert.equal(await backingOf('top.qcow2'), 'moved.qcow2');
  await folder.assertSame('top.raw', 'top.qcow2');
  await folder.tsvmOutput('rebase', '-u', '-b', 'gone', '-F', 'raw', '%top.qcow2');
  assert.equal(await backingOf('top.qcow2'), 'gone');
  const own = await folder.tsvm(['rebase', '-b', 'top.qcow2', '%base.qcow2']);
  assert.equal(own.code, 1);
});

test('bench reads and writes, and leaves a sound image', async () => {
  const requests = ['-c', '200', '-d', '4', '-s', '8k'];
  const read = await folder.tsvmOutput('bench', ...requests, '%top.qcow2');
  assert.match(
    read,
    /^Sending 200 read requests, 8192 bytes each, 4 in parallel .*\nRun completed/,
  );
  const write = ['-w', '--pattern', '0xa5', '--flush-interval', '50', '-S', '16k', '-o', '1M'];
  await folder.tsvmOutput('bench', ...requests, ...write, '%base.qcow2');
  await folder.qemuOutput('check', '-q', '%base.qcow2');
  const sound = await folder.tsvm(['bench', '--flush-interval', '5', '%base.qcow2']);
  assert.equal(sound.code, 1);
});

test('compare: words and exit codes', async () => {
  for (const args of [
    ['%top.raw', '%top.qcow2'],
    ['%top.raw', '%base.qcow2'],
    ['-s', '%top.raw', '%base.qcow2'],
    ['-s', '%top.qcow2', '%top.qcow2'],
    ['-q', '%middle.qcow2', '%base.qcow2'],
    ['%gone.raw', '%base.qcow2'],
  ]) {
    const formats = args.slice(-2).map((name) => (name.endsWith('.raw') ? 'raw' : 'qcow2'));
    const command = ['compare', '-f', formats[0] ?? '', '-F', formats[1] ?? '', ...args];
    const [ours, theirs] = [await folder.tsvm(command), await folder.qemu(...command)];
    assert.equal(ours.code, theirs.code, args.join(' '));
    assert.equal(ours.stdout, theirs.stdout, args.join(' '));
  }
  const alone = ['compare', '%top.raw'];
  assert.equal((await folder.tsvm(alone)).code, (await folder.qemu(...alone)).code);
});

test('a backing file outside the image’s folder is opened only when allowed', async () => {
  mkdirSync(folder.file('inner'));
  await folder.tsvmOutput(
    'create',
    '-q',
    '-b',
    '../base.qcow2',
    '-F',
    'qcow2',
    '%inner/over.qcow2',
  );
  const refused = await folder.tsvm(['convert', '%inner/over.qcow2', '%inner/out.raw']);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /outside the image's folder: .*\(--backing allow\)$/m);
  await folder.tsvmOutput('convert', '--backing', 'allow', '%inner/over.qcow2', '%over.raw');
  await folder.assertSame('base.qcow2', 'over.raw');
});

test('images in use are refused', async () => {
  const held = openHostFile(folder.file('base.qcow2'), hostFiles(), { readOnly: false });
  const { code, stderr } = await folder.tsvm(['resize', '%base.qcow2', '+1M']);
  const overwriting = await folder.tsvm(['convert', '%top.raw', '%base.qcow2']);
  held.close();
  assert.equal(code, 1);
  assert.match(stderr, /in use by/);
  assert.equal(overwriting.code, 1);
  assert.match(overwriting.stderr, /in use by/);
});

test('a raw external data file and a backing file exclude each other', async () => {
  const data = ['-o', 'data_file=r.raw,data_file_raw=on'];
  await folder.tsvmOutput('create', '-q', ...data, '%with-data.qcow2', '32M');
  for (const args of [
    ['rebase', '-u', '-b', 'base.qcow2', '%with-data.qcow2'],
    ['rebase', '-b', 'base.qcow2', '%with-data.qcow2'],
    ['amend', '-o', 'backing_file=base.qcow2', '%with-data.qcow2'],
    ['create', '-b', 'base.qcow2', ...data, '%with-both.qcow2'],
  ]) {
    assert.equal((await folder.tsvm(args)).code, 1, args.join(' '));
    await folder.tsvmOutput('map', '%with-data.qcow2');
  }
});

test('verbs and help', async () => {
  assert.match(await folder.tsvmOutput('--version'), /^tsvm \d/);
  assert.match(await folder.tsvmOutput('--help'), /^ {2}convert {3}/m);
  assert.match(await folder.tsvmOutput('rebase', '--help'), /Examples:/);
  const { code, stderr } = await folder.tsvm(['dance']);
  assert.equal(code, 1);
  assert.match(stderr, /unknown verb "dance"/);
});

test('a resize that fails on a full disk leaves size and free space unchanged', async (test) => {
  if (process.getuid?.() !== 0) return test.skip('mounting is for root');
  mkdirSync(folder.file('full'), { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', folder.file('full')]);
  test.after(() => execFileSync('umount', [folder.file('full')]));
  for (const format of ['qcow2', 'raw']) {
    for (const preallocation of ['falloc', 'full']) {
      const name = `full/${format}-${preallocation}`;
      await folder.qemuOutput('create', '-q', '-f', format, `%${name}`, '1M');
      const usedBefore = statSync(folder.file(name)).blocks;
      const resize = ['resize', '-f', format, '--preallocation', preallocation, `%${name}`, '20M'];
      const { code, stderr } = await folder.tsvm(resize);
      assert.equal(code, 1, stderr);
      assert.match(stderr, /no space left on device.*free some space/i);
      assert.match(await folder.qemuOutput('info', '-f', format, `%${name}`), /\(1048576 bytes\)/);
      const grownBytes = (statSync(folder.file(name)).blocks - usedBefore) * 512;
      assert.ok(grownBytes <= 256 * 1024, `${name}: ${grownBytes} bytes are still used`);
      if (format === 'qcow2') await folder.qemuOutput('check', '-q', '-f', 'qcow2', `%${name}`);
      rmSync(folder.file(name));
    }
  }
});

test('errors about a new file show its final name', async () => {
  const create = 'ulimit -f 4096; exec "$0" image create -f raw "$1" 10M';
  const args = ['-c', create, TSVM, folder.file('limited.raw')];
  const { stderr } = spawnSync('bash', args, { encoding: 'utf8' });
  assert.match(stderr, /limited\.raw.*ulimit -f/);
  assert.doesNotMatch(stderr, /partial/);
});
