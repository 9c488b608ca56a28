/** measure, dd, amend, rates, salvage and --image-opts, compared with qemu-img. */
import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { ImageFolder } from './image-fixtures.ts';

const folder = new ImageFolder();
before(() => folder.makeChain());
after(() => folder.remove());

const json = async (run: Promise<string>) => JSON.parse(await run);

test('measure: the numbers of qemu-img, for new disks and for images', async () => {
  const vmdk = ['-O', 'vmdk', '-o', 'subformat=streamOptimized'];
  await folder.qemuOutput('convert', ...vmdk, '%top.raw', '%m.vmdk');
  await folder.qemuOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    'preallocation=metadata',
    '%p.qcow2',
    '1G',
  );
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%b.qcow2', '1G');
  for (const name of ['one', 'a longer name of a bitmap']) {
    await folder.qemuOutput('bitmap', '--add', '%b.qcow2', name);
  }
  for (const line of [
    '--size 10G',
    '--size 1000',
    '-O qcow2 --size 0',
    '-O qcow2 --size 10G',
    '-O qcow2 --size 1T -o extended_l2=on',
    '-O qcow2 --size 1G -o refcount_bits=64,cluster_size=512',
    '-O qcow2 --size 10G -o preallocation=metadata,cluster_size=4k',
    '%top.qcow2',
    '-O qcow2 %top.qcow2',
    '-O qcow2 -o cluster_size=2M %top.qcow2',
    '-O qcow2 -o preallocation=full %top.qcow2',
    '-O qcow2 -o compat=0.10 %top.qcow2',
    '-O qcow2 -l before %top.qcow2',
    '-O qcow2 -f raw %top.raw',
    '-O qcow2 %p.qcow2',
    '-O qcow2 %b.qcow2',
    '-O qcow2 -o cluster_size=512 %b.qcow2',
    '-O qcow2 -f vmdk %m.vmdk',
  ]) {
    const args = ['measure', '--output', 'json', ...line.split(' ')];
    assert.deepEqual(
      await json(folder.tsvmOutput(...args)),
      await json(folder.qemuOutput(...args)),
      line,
    );
  }
  const human = ['measure', '-O', 'qcow2', '%b.qcow2'];
  assert.equal(await folder.tsvmOutput(...human), await folder.qemuOutput(...human));
  for (const line of [
    '',
    '--size 1M %top.qcow2',
    '-O vmdk --size 1M',
    '-O qcow2 -o cluster_size=3 --size 1M',
  ]) {
    const args = ['measure', ...line.split(' ').filter((word) => word !== '')];
    assert.equal((await folder.tsvm(args)).code, 1, line);
    assert.equal((await folder.qemu(...args)).code, 1, line);
  }
});

test('measure is an upper bound for convert', async () => {
  for (const options of ['cluster_size=64k', 'cluster_size=512', 'extended_l2=on']) {
    const args = ['-O', 'qcow2', '-o', options, '%top.qcow2'];
    const { required } = await json(folder.tsvmOutput('measure', '--output', 'json', ...args));
    await folder.tsvmOutput('convert', ...args, '%fits.qcow2');
    assert.ok(readFileSync(folder.file('fits.qcow2')).length <= required, options);
  }
});

test('dd: the same part of an image', async () => {
  for (const line of [
    'if=%top.qcow2',
    'bs=1M skip=5 if=%top.qcow2',
    'bs=1M count=7 if=%top.qcow2',
    'bs=64k count=50 skip=20 if=%top.qcow2',
    'bs=1000 count=3000 skip=1 if=%top.qcow2',
    'bs=1M count=500 if=%top.qcow2',
    'bs=1M count=0 if=%top.qcow2',
    'bs=1M skip=32 if=%top.qcow2',
  ]) {
    const args = ['dd', '-f', 'qcow2', '-O', 'raw', ...line.split(' ')];
    await folder.tsvmOutput(...args, 'of=%ours.raw');
    await folder.qemuOutput(...args, 'of=%theirs.raw');
    assert.ok(
      readFileSync(folder.file('ours.raw')).equals(readFileSync(folder.file('theirs.raw'))),
      line,
    );
  }
  await folder.tsvmOutput('dd', 'bs=1M', 'skip=2', 'count=20', 'if=%top.qcow2', 'of=%part.qcow2');
  await folder.qemuOutput(
    'dd',
    '-O',
    'raw',
    'bs=1M',
    'skip=2',
    'count=20',
    'if=%top.qcow2',
    'of=%part.raw',
  );
  await folder.assertSame('part.raw', 'part.qcow2');
  for (const line of [
    'if=%top.raw',
    'of=%x.raw',
    'if=%top.raw of=%x.raw bs=0',
    'if=%top.raw of=%x.raw conv=sync',
  ]) {
    assert.equal((await folder.tsvm(['dd', ...line.split(' ')])).code, 1, line);
  }
  const kept = readFileSync(folder.file('top.raw'));
  assert.equal((await folder.tsvm(['dd', 'if=%top.raw', 'of=%top.raw'])).code, 1);
  assert.equal((await folder.tsvm(['dd', 'if=%top.qcow2', 'of=%base.qcow2'])).code, 1);
  assert.ok(readFileSync(folder.file('top.raw')).equals(kept));
});

test('amend changes what can be changed and refuses the rest', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', '%old.qcow2', '8M');
  folder.write('old.qcow2', 'write -P 9 1M 1M');
  copyFileSync(folder.file('old.qcow2'), folder.file('theirs.qcow2'));
  const facts = async (name: string) => ({
    ...(await json(folder.qemuOutput('info', '--output=json', `%${name}`))),
    filename: '',
    'actual-size': 0,
  });
  for (const options of ['compat=1.1', 'lazy_refcounts=on', 'size=16M', 'lazy_refcounts=off']) {
    await folder.tsvmOutput('amend', '-o', options, '%old.qcow2');
    await folder.qemuOutput('amend', '-o', options, '%theirs.qcow2');
    assert.deepEqual(await facts('old.qcow2'), await facts('theirs.qcow2'), options);
    await folder.assertSame('old.qcow2', 'theirs.qcow2');
  }
  for (const [options, reason] of [
    ['cluster_size=4k', /when an image is created/],
    ['compat=0.10', /convert/],
    ['size=1M', /resize --shrink/],
    ['foo=1', /no option "foo"/],
  ] as const) {
    const { code, stderr } = await folder.tsvm(['amend', '-o', options, '%old.qcow2']);
    assert.equal(code, 1, options);
    assert.match(stderr, reason);
  }
  assert.equal((await folder.tsvm(['amend', '-o', 'size=1M', '%top.raw'])).code, 1);
});

test('rates are observed: convert -r and commit -r', async () => {
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%rate.qcow2', '8M');
  folder.write('rate.qcow2', 'write -P 3 0 2M');
  await folder.qemuOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    'rate.qcow2',
    '-F',
    'qcow2',
    '%over.qcow2',
  );
  folder.write('over.qcow2', 'write -P 4 1M 2M');
  for (const args of [
    ['convert', '-r', '1M', '%rate.qcow2', '%slow.raw'],
    ['convert', '-c', '-r', '1M', '%rate.qcow2', '%slow.qcow2'],
    ['commit', '-r', '1M', '-d', '%over.qcow2'],
  ]) {
    const startMs = performance.now();
    await folder.tsvmOutput(...args);
    assert.ok(performance.now() - startMs >= 1900, args.join(' '));
  }
  await folder.qemuOutput('compare', '%rate.qcow2', '%over.qcow2');
  for (const rate of ['0', 'x', '-1']) {
    assert.equal((await folder.tsvm(['convert', '-r', rate, '%top.raw', '%x.raw'])).code, 1, rate);
  }
});

test('--salvage: unreadable parts are reported and zeroed', async () => {
  await folder.tsvmOutput('convert', '-c', '%top.raw', '%torn.qcow2');
  const bytes = readFileSync(folder.file('torn.qcow2'));
  bytes.fill(0xff, 5 * 65_536);
  writeFileSync(folder.file('torn.qcow2'), bytes);
  assert.equal((await folder.tsvm(['convert', '%torn.qcow2', '%x.raw'])).code, 1);
  const args = ['convert', '--salvage', '-O', 'raw', '%torn.qcow2'];
  const { code, stderr } = await folder.tsvm([...args, '%ours.raw']);
  assert.equal(code, 0, stderr);
  assert.match(stderr, /\d+ bytes at \d+ are unreadable; zeroes were written instead: .*broken/);
  assert.match(stderr, /\d+ bytes in \d+ ranges were lost in total\n$/);
  assert.ok(stderr.split('\n').length < 25);
  await folder.qemuOutput(...args, '%theirs.raw');
  assert.ok(readFileSync(folder.file('ours.raw')).equals(readFileSync(folder.file('theirs.raw'))));
  for (const wrong of [
    ['-C', '-c'],
    ['-C', '--salvage'],
  ]) {
    assert.equal((await folder.tsvm(['convert', ...wrong, '%top.raw', '%x.qcow2'])).code, 1);
  }
  await folder.tsvmOutput('convert', '-C', '%top.raw', '%offloaded.raw');
  await folder.assertSame('top.raw', 'offloaded.raw');
});

test('--image-opts, file: and json: name a file in every verb', async () => {
  const options = (name: string) => `driver=qcow2,file.driver=file,file.filename=%${name}`;
  const text = `json:{"driver":"qcow2","file":{"driver":"file","filename":"${folder.file('base.qcow2')}"}}`;
  for (const verb of ['info', 'map', 'check']) {
    const plain = await folder.tsvmOutput(verb, '%base.qcow2');
    assert.equal(await folder.tsvmOutput(verb, '--image-opts', options('base.qcow2')), plain);
    assert.equal(await folder.tsvmOutput(verb, `file:${folder.file('base.qcow2')}`), plain);
    assert.equal(await folder.tsvmOutput(verb, text), plain);
  }
  await folder.tsvmOutput(
    'convert',
    '--image-opts',
    options('base.qcow2'),
    '-O',
    'raw',
    '%named.img',
  );
  await folder.tsvmOutput(
    'compare',
    '--image-opts',
    options('base.qcow2'),
    `driver=raw,file.filename=%named.img`,
  );
  await folder.tsvmOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    'file:base.qcow2',
    '-F',
    'qcow2',
    '%on-file.qcow2',
  );
  await folder.tsvmOutput('map', '%on-file.qcow2');
  await folder.qemuOutput('create', '-q', '-f', 'qcow2', '%into.img', '32M');
  const into = ['-n', '--target-image-opts', '%top.raw', 'driver=qcow2,file.filename=%into.img'];
  await folder.tsvmOutput('convert', ...into);
  await folder.qemuOutput('compare', '-f', 'raw', '-F', 'qcow2', '%top.raw', '%into.img');
  for (const wrong of [
    ['info', '--image-opts', 'driver=qcow2'],
    ['info', '--image-opts', 'driver=nbd,host=localhost'],
    ['info', '--image-opts', 'driver=raw,offset=512,file.filename=%top.raw'],
    ['info', '--image-opts', '-f', 'qcow2', 'driver=qcow2,file.filename=%base.qcow2'],
    ['info', 'json:{"driver":"qcow2"'],
    ['info', '-f', 'raw', text],
  ]) {
    assert.equal((await folder.tsvm(wrong)).code, 1, wrong.join(' '));
  }
});
