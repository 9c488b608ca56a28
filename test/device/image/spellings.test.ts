/** Options, sizes, texts and exit codes are those of qemu-img for the same arguments. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { patchFile } from '../../support/disk-images.ts';
import { TSVM } from '../../support/tsvm-process.ts';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
before(() => folder.makeChain());
after(() => folder.remove());

test('-o: every spelling of a value gives the same image as qemu-img, or an error', async () => {
  for (const options of [
    ...['yes', 'no', 'true', 'false', 'y', 'n', 'On', ''].map((word) => `lazy_refcounts=${word}`),
    'lazy_refcounts',
    'extended_l2=y,cluster_size=128k',
    'encryption=off',
    'encryption=n',
    'nocow=on',
    ...['0x10', '020', ' 16', '16.0', '08'].map((word) => `refcount_bits=${word}`),
    ...['65536.0', '1.M', '0x10000', '64K', '.5M', '64 k'].map((word) => `cluster_size=${word}`),
    'compat=v3,,',
    'cluster_size=4k,cluster_size=8k',
    'size=3M',
  ]) {
    const args = ['create', '-q', '-f', 'qcow2', '-o', options];
    const size = options.startsWith('size=') ? [] : ['1M'];
    for (const name of ['ours.qcow2', 'theirs.qcow2']) rmSync(folder.file(name), { force: true });
    const ours = await folder.tsvm([...args, '%ours.qcow2', ...size]);
    const theirs = await folder.qemu(...args, '%theirs.qcow2', ...size);
    assert.equal(ours.code, theirs.code, `${options}: ${ours.stderr}${theirs.stderr}`);
    if (ours.code !== 0) continue;
    const facts = async (name: string) => {
      const info = JSON.parse(await folder.qemuOutput('info', '--output=json', `%${name}`));
      return { ...info, filename: '', 'actual-size': 0 };
    };
    assert.deepEqual(await facts('ours.qcow2'), await facts('theirs.qcow2'), options);
  }
});

test('commas in names: of three, the first two are one', async () => {
  for (const name of ['x,', ',x', 'a,,b', 'a,b=c', ',,']) {
    writeFileSync(folder.file(name), Buffer.alloc(1024));
    const list = `backing_file=${name.replaceAll(',', ',,')},backing_fmt=raw`;
    await folder.tsvmOutput('create', '-q', '-f', 'qcow2', '-o', list, '%comma.qcow2');
    const info = JSON.parse(await folder.qemuOutput('info', '--output=json', '%comma.qcow2'));
    assert.equal(info['backing-filename'], name);
    await folder.qemuOutput('map', '%comma.qcow2');
  }
});

test('raw images of any size have whole sectors', async () => {
  for (const bytes of ['0', '1', '511', '512', '513', '1000', '1048577', '1000.0']) {
    for (const size of [[`${bytes}`], ['-o', `size=${bytes}`]]) {
      const [option = '', ...rest] = size;
      const command = (name: string) =>
        rest.length === 0
          ? ['create', '-f', 'raw', `%${name}`, option]
          : ['create', '-f', 'raw', ...size, `%${name}`];
      const ours = await folder.tsvmOutput(...command('odd.raw'));
      const oursBytes = statSync(folder.file('odd.raw')).size;
      assert.equal(ours, await folder.qemuOutput(...command('odd.raw')));
      assert.equal(oursBytes, statSync(folder.file('odd.raw')).size, bytes);
    }
  }
});

test('sizes and percentages for people', async () => {
  for (const size of ['10.25G', '2.125G', '100.5G', '20.5G', '1023M', '1000M', '999.5M', '1.5k']) {
    await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%human.qcow2', size);
    const args = ['info', '%human.qcow2'];
    assert.equal(await folder.tsvmOutput(...args), await folder.qemuOutput(...args), size);
  }
  for (const length of ['2M', '192k', '64k', '33M']) {
    await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%part.qcow2', '64M');
    folder.write('part.qcow2', `write -P 1 0 ${length}`);
    const args = ['check', '%part.qcow2'];
    assert.equal(await folder.tsvmOutput(...args), await folder.qemuOutput(...args), length);
  }
});

test('exit codes of failures', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'raw', '%flat.raw', '8M');
  const lost = ['-u', '-b', 'nothere.qcow2', '-F', 'qcow2', '%lost.qcow2', '8M'];
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', ...lost);
  mkdirSync(folder.file('folder'));
  copyFileSync(folder.file('base.qcow2'), folder.file('corrupt.qcow2'));
  patchFile(folder.file('corrupt.qcow2'), [[2 * 65_536 + 2 * 8, Uint8Array.of(0, 0)]]);
  for (const line of [
    'check %corrupt.qcow2',
    'check %flat.raw',
    'check %nothere',
    'check -f raw %nothere',
    'check -f qcow2 %flat.raw',
    'check %folder',
    'check --output xml %base.qcow2',
    'check',
    'info %nothere',
    'info %folder',
    'info -f qcow2 %flat.raw',
    'info %base.qcow2 %flat.raw',
    'info --frob %base.qcow2',
    'map %lost.qcow2',
    'map %nothere',
    'convert %lost.qcow2 -O raw %new.raw',
    'convert %base.qcow2',
    'convert %base.qcow2 -O raw %nodir/new.raw',
    'convert -c -O raw %base.qcow2 %new.raw',
    'convert -l nosnap -O raw %base.qcow2 %new.raw',
    'convert -n -O raw %base.qcow2 %new.raw',
    'convert -m 0 -O raw %base.qcow2 %new.raw',
    'create -f qcow2 %new.qcow2',
    'create -f qcow2 %new.qcow2 1M more',
    'create -f qcow2 -F raw %new.qcow2 1M',
    'create -f qcow2 -o size=2M %new.qcow2 1M',
    'create -f qcow2 -b nothere.qcow2 -F qcow2 %new.qcow2',
    'resize %base.qcow2 4M',
    'resize %base.qcow2 x',
    'resize -f raw %flat.raw 4M',
    'resize %nothere 4M',
    'snapshot -a none %base.qcow2',
    'snapshot -d none %base.qcow2',
    'snapshot -c a -c b %base.qcow2',
    'snapshot -c a -d b %base.qcow2',
    'snapshot -c x %flat.raw',
    'compare %base.qcow2',
    'compare %base.qcow2 %base.qcow2 %base.qcow2',
    'compare --frob %base.qcow2 %base.qcow2',
    'compare -f nothing %base.qcow2 %base.qcow2',
    'compare %base.qcow2 %nothere',
    'commit %base.qcow2',
    'commit %nothere',
    'rebase -b nothere.qcow2 -F qcow2 %middle.qcow2',
    'rebase -U -u -b base.qcow2 -F qcow2 %middle.qcow2',
    'compare %base.qcow2 %base.qcow2',
    'compare -f qcow2 -F raw %base.qcow2 %flat.raw',
    'compare %base.qcow2 %nothere',
    'compare %nothere %base.qcow2',
    'bench %nothere',
  ]) {
    const args = line.split(' ');
    const clear = () => rmSync(folder.file('new.raw'), { force: true });
    const theirs = await folder.qemu(...args);
    clear();
    const ours = await folder.tsvm(args);
    clear();
    assert.equal(ours.code, theirs.code, `${line}: ${ours.stderr}${theirs.stderr}`);
  }
});

test('progress goes to a pipe even when standard error is a terminal', () => {
  const convert = `'${TSVM}' image convert -p '${folder.file('top.raw')}' '${folder.file('p.qcow2')}'`;
  const inTerminal = (command: string) =>
    execFileSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8', stdio: 'pipe' });
  inTerminal(`${convert} > '${folder.file('read')}'`);
  assert.match(readFileSync(folder.file('read'), 'utf8'), /^( {4}\(\d+\.\d\d\/100%\)\r)+\n$/);
  assert.match(inTerminal(convert), /convert \[#/);
  assert.match(inTerminal(`stty cols 80; ${convert}`), /convert \[/);
  const narrow = inTerminal(`stty cols 20; ${convert}`);
  const esc = String.fromCharCode(27);
  for (const line of narrow.split('\r')) {
    assert.ok(line.replace(`${esc}[K`, '').trimEnd().length < 20, JSON.stringify(line));
  }
});
