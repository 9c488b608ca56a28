/** `convert`, judged by qemu-img. */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { after, before, test } from 'node:test';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
before(() => folder.makeChain());
after(() => folder.remove());

/** Asserts that no incomplete file is left. */
function assertNothingPartial(): void {
  assert.deepEqual(
    readdirSync(folder.path).filter((name) => name.includes('partial')),
    [],
  );
}

const WAYS: readonly (readonly [target: string, ...args: string[]])[] = [
  ['a.raw'],
  ['b.qcow2'],
  ['c.qcow2', '-o', 'cluster_size=4k,refcount_bits=1,lazy_refcounts=on'],
  ['d.qcow2', '-o', 'extended_l2=on,cluster_size=128k'],
  ['e.qcow2', '-o', 'compat=0.10'],
  ['f.qcow2', '-c'],
  ['g.qcow2', '--compress-type', 'zstd'],
  ['h.qcow2', '-c', '-o', 'compression_type=zstd,cluster_size=512'],
  ['i.qcow2', '-o', `data_file=${folder.file('i.data')},data_file_raw=on`],
  ['j.qcow2', '-o', 'preallocation=metadata'],
  ['k.raw', '-o', 'preallocation=falloc'],
  ['l.qcow2', '-m', '1', '-W', '-p'],
  ['m.qcow2', '-S', '64k', '-t', 'writeback', '-T', 'none'],
];

for (const [target, ...args] of WAYS) {
  test(`convert ${[target, ...args].join(' ')}`, async () => {
    await folder.tsvmOutput('convert', ...args, '%top.qcow2', `%${target}`);
    await folder.assertSame('top.raw', target);
    assertNothingPartial();
  });
}

test('zeroes take no space, in either format', async () => {
  await folder.tsvmOutput('convert', '%top.raw', '%sparse.qcow2');
  await folder.tsvmOutput('convert', '%sparse.qcow2', '%sparse.raw');
  const dataBytes = statSync(folder.file('top.raw')).blocks * 512;
  for (const name of ['sparse.qcow2', 'sparse.raw']) {
    const { blocks } = statSync(folder.file(name));
    assert.ok(blocks * 512 < dataBytes + 2 ** 20, `${name} takes ${blocks * 512} bytes`);
  }
  await folder.tsvmOutput('convert', '-S', '0', '%sparse.raw', '%full.raw');
  const full = statSync(folder.file('full.raw'));
  assert.ok(full.blocks * 512 >= full.size, 'and with -S 0 all of it does');
});

test('a snapshot is converted', async () => {
  for (const selector of ['before', '1', 'snapshot.id=1,snapshot.name=before']) {
    await folder.tsvmOutput('convert', '-l', selector, '%top.qcow2', '%before.raw');
    await folder.qemuOutput('convert', '-l', 'before', '-O', 'raw', '%top.qcow2', '%then.raw');
    await folder.assertSame('before.raw', 'then.raw');
  }
  const { code, stderr } = await folder.tsvm(['convert', '-l', 'none', '%top.qcow2', '%x.raw']);
  assert.equal(code, 1);
  assert.match(stderr, /no snapshot "none"/);
});

test('with a backing file, only differences are written', async () => {
  const backing = ['-B', 'middle.qcow2', '-F', 'qcow2'];
  await folder.tsvmOutput('convert', ...backing, '%top.qcow2', '%thin.qcow2');
  await folder.assertSame('top.raw', 'thin.qcow2');
  const depths = async (name: string) => {
    const entries: { start: number; depth: number }[] = JSON.parse(
      await folder.qemuOutput('map', '--output=json', `%${name}`),
    );
    return entries
      .filter(({ depth }, i) => depth !== entries[i - 1]?.depth)
      .map(({ start, depth }) => [start, depth]);
  };
  assert.deepEqual(await depths('thin.qcow2'), await depths('top.qcow2'));
});

test('several images, concatenated', async () => {
  writeFileSync(folder.file('odd.raw'), Buffer.alloc(1000, 9));
  await folder.tsvmOutput('convert', '%odd.raw', '%top.qcow2', '%odd.raw', '%joined.raw');
  const joined = readFileSync(folder.file('joined.raw'));
  const odd = Buffer.alloc(1024).fill(9, 0, 1000);
  assert.ok(joined.equals(Buffer.concat([odd, readFileSync(folder.file('top.raw')), odd])));
});

test('-n writes into an existing image with a message, and clears what is not zero', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%there.qcow2', '32M');
  folder.write('there.qcow2', 'write -P 99 0 32M');
  const { code, stderr } = await folder.tsvm(['convert', '-n', '%top.qcow2', '%there.qcow2']);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /there\.qcow2 is written in place/);
  await folder.assertSame('top.raw', 'there.qcow2');
  writeFileSync(folder.file('small.raw'), Buffer.alloc(512));
  const small = await folder.tsvm(['convert', '-n', '%top.qcow2', '%small.raw']);
  assert.equal(small.code, 1);
  assert.match(small.stderr, /512 bytes, and 33554432 are needed/);
});

test('an existing target is replaced and keeps its permissions; links to it stay links', async () => {
  writeFileSync(folder.file('mine.raw'), 'old', { mode: 0o600 });
  symlinkSync('mine.raw', folder.file('link.raw'));
  await folder.tsvmOutput('convert', '%top.qcow2', '%link.raw');
  await folder.assertSame('top.raw', 'mine.raw');
  assert.equal(statSync(folder.file('mine.raw')).mode & 0o777, 0o600);
  assert.equal(readdirSync(folder.path).includes('link.raw'), true);
});

test('a source is never the target', async () => {
  symlinkSync('middle.qcow2', folder.file('alias.qcow2'));
  const before = readFileSync(folder.file('middle.qcow2'));
  for (const target of ['top.qcow2', 'middle.qcow2', 'alias.qcow2']) {
    for (const more of [[], ['-n']]) {
      const { code, stderr } = await folder.tsvm(['convert', ...more, '%top.qcow2', `%${target}`]);
      assert.equal(code, 1, target);
      assert.match(stderr, /cannot also be the target/);
    }
  }
  assert.ok(readFileSync(folder.file('middle.qcow2')).equals(before));
});

test('progress for programs has qemu-img’s format', async () => {
  const output = await folder.tsvmOutput('convert', '-p', '%top.qcow2', '%p.raw');
  assert.match(output, /^( {4}\(\d+\.\d\d\/100%\)\r)+\n$/);
  assert.ok(output.endsWith('(100.00/100%)\r\n'));
  assert.equal(await folder.tsvmOutput('convert', '-p', '-q', '%top.qcow2', '%p.raw'), '');
});

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} leaves the old file, and nothing else`, async () => {
    writeFileSync(folder.file('kept.qcow2'), 'kept');
    // Slow enough to be interrupted: it reports progress and then needs more seconds.
    copyFileSync(process.execPath, folder.file('large.raw'));
    const { code, stdout } = await folder.tsvm(
      ['convert', '-c', '-p', '-m', '1', '%large.raw', '%kept.qcow2'],
      {
        onStdout: (text, child) => {
          if (/\([1-9]/.test(text)) child.kill(signal);
        },
      },
    );
    const number = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 }[signal];
    assert.equal(code, 128 + number);
    assert.doesNotMatch(stdout, /100\.00/);
    assert.equal(readFileSync(folder.file('kept.qcow2'), 'utf8'), 'kept');
    assertNothingPartial();
  });
}

test('an error leaves no file', async () => {
  // A cluster that is marked as compressed but is not.
  await folder.tsvmOutput('convert', '-c', '%top.raw', '%torn.qcow2');
  const bytes = readFileSync(folder.file('torn.qcow2'));
  bytes.fill(0xff, 5 * 65_536);
  writeFileSync(folder.file('torn.qcow2'), bytes);
  const { code, stderr } = await folder.tsvm(['convert', '%torn.qcow2', '%never.raw']);
  assert.equal(code, 1);
  assert.match(stderr, /^tsvm image convert: /);
  assert.equal(readdirSync(folder.path).includes('never.raw'), false);
  assertNothingPartial();
});

test('contradictory options are refused with a reason', async () => {
  for (const [args, reason] of [
    [['%top.qcow2'], /two files are needed/],
    [['-O', 'vmdk', '%top.qcow2', '%x'], /There are raw and qcow2/],
    [['-c', '%top.qcow2', '%x.raw'], /raw image cannot be compressed/],
    [['-o', 'colour=red', '%top.qcow2', '%x.qcow2'], /no option "colour"/],
    [['-o', 'cluster_size=3k', '%top.qcow2', '%x.qcow2'], /power of two/],
    [['--sideways', '%top.qcow2', '%x.qcow2'], /unknown option '--sideways'/],
    [['-B', 'base', '%top.qcow2', '%x.qcow2'], /use -F/],
    [['%gone.qcow2', '%x.qcow2'], /gone\.qcow2 cannot be opened/],
  ] as const) {
    const { code, stderr } = await folder.tsvm(['convert', ...args]);
    assert.equal(code, 1, args.join(' '));
    assert.match(stderr, reason);
  }
  assertNothingPartial();
});
