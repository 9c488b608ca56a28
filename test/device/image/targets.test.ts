/** The places of new images: unusual names and folders, and files that must not be lost. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { after, afterEach, before, beforeEach, type TestContext, test } from 'node:test';
import { loopDevice, noLoopDevices } from '../../support/loop-device.ts';
import { TSVM } from '../../support/tsvm-process.ts';
import { ImageFolder } from './image-fixtures.ts';

const NOBODY = 65534;
const folder = new ImageFolder();

before(() => folder.makeChain());
beforeEach(() => {
  chmodSync(folder.path, 0o755);
  chmodSync(folder.file('top.raw'), 0o644);
});
afterEach(() => assert.deepEqual(partialFiles(folder.path), []));
after(() => folder.remove());

function partialFiles(path: string): string[] {
  return readdirSync(path).filter((name) => name.endsWith('.partial'));
}

/** Runs `tsvm image ARGS...` in a shell. */
function inShell(command: string, asNobody = false): { code: number; said: string } {
  const user = asNobody ? `setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups ` : '';
  const script = `cd '${folder.path}' || exit 99\nt() { ${user}'${TSVM}' image "$@"; }\n${command}`;
  try {
    return {
      code: 0,
      said: execFileSync('sh', ['-c', script], { encoding: 'utf8', stdio: 'pipe' }),
    };
  } catch (error) {
    const { status, stderr, stdout } = error as { status: number; stderr: string; stdout: string };
    return { code: status, said: stdout + stderr };
  }
}

function assertDone(command: string, asNobody = false): void {
  const { code, said } = inShell(command, asNobody);
  assert.equal(code, 0, `${command}: ${said}`);
}

function skippedForNobody(test: TestContext): boolean {
  if (process.getuid?.() === 0 && inShell('t --help', true).code === 0) return false;
  test.skip('another user cannot run this checkout, or we cannot become one');
  return true;
}

test('sources are never targets: backing files, chains, data files', async () => {
  for (const name of ['over.qcow2', 'top2.qcow2', 'data.qcow2', 'on-data.qcow2']) {
    rmSync(folder.file(name), { force: true });
  }
  await folder.qemuOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    'base.qcow2',
    '-F',
    'qcow2',
    '%over.qcow2',
  );
  await folder.qemuOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    `data_file=${folder.file('d.raw')}`,
    '%data.qcow2',
    '1M',
  );
  await folder.qemuOutput(
    'create',
    '-q',
    '-f',
    'qcow2',
    '-u',
    '-b',
    'data.qcow2',
    '-F',
    'qcow2',
    '%on-data.qcow2',
    '1M',
  );
  linkSync(folder.file('base.qcow2'), folder.file('hard.qcow2'));
  symlinkSync('base.qcow2', folder.file('soft.qcow2'));
  const kept = new Map(
    ['base.qcow2', 'over.qcow2', 'd.raw', 'data.qcow2', 'top.raw'].map((name) => [
      name,
      readFileSync(folder.file(name)),
    ]),
  );
  for (const command of [
    't create -b base.qcow2 base.qcow2',
    't create -b ./base.qcow2 base.qcow2',
    't create -b "$PWD/base.qcow2" -F qcow2 base.qcow2',
    't create -b hard.qcow2 base.qcow2',
    't create -b base.qcow2 hard.qcow2',
    't create -b soft.qcow2 base.qcow2',
    't create -b base.qcow2 soft.qcow2',
    't create -b over.qcow2 base.qcow2',
    't create -b over.qcow2 base.qcow2 1G',
    't create -u -b over.qcow2 base.qcow2 1G',
    't create -u -b base.qcow2 base.qcow2 1G',
    't create -o backing_file=over.qcow2 base.qcow2',
    't create -b file:over.qcow2 -F qcow2 file:base.qcow2',
    't create -b base.qcow2 /dev/fd/7 7<>base.qcow2',
    't create -b on-data.qcow2 -f raw d.raw',
    't create -b on-data.qcow2 -f qcow2 d.raw',
    't create -b on-data.qcow2 data.qcow2',
    't create -b base.qcow2 -o data_file=base.qcow2 x.qcow2',
    't create -o data_file=x.qcow2 x.qcow2 1M',
    't create -o data_file=over.qcow2 over.qcow2 1M',
    't convert -O raw data.qcow2 d.raw',
    't convert -U data.qcow2 d.raw',
    't convert top.raw -o data_file=top.raw x.qcow2',
    't convert -n -U -O qcow2 d.raw data.qcow2',
    't convert -B base.qcow2 top.qcow2 hard.qcow2',
    't convert -B over.qcow2 -F qcow2 top.raw base.qcow2',
    't rebase -b over.qcow2 base.qcow2',
    't rebase -u -b hard.qcow2 base.qcow2',
    't rebase -b d.raw -F raw data.qcow2',
  ]) {
    const { code, said } = inShell(command);
    assert.equal(code, 1, `${command}: ${said}`);
    assert.doesNotMatch(said, /^ {4}at /m, command);
    for (const [name, content] of kept) {
      assert.ok(readFileSync(folder.file(name)).equals(content), `${command} has changed ${name}`);
    }
    assert.ok(!readdirSync(folder.path).includes('x.qcow2'), command);
  }
});

test('a loop device counts as its backing file', { skip: noLoopDevices() }, (test) => {
  const content = readFileSync(folder.file('base.qcow2'));
  const { path } = loopDevice(test, { sizeBytes: content.length, content });
  const sysfs = `/sys/block/${path.slice('/dev/'.length)}/loop/backing_file`;
  const file = readFileSync(sysfs, 'utf8').trim();
  const { code, said } = inShell(`t create --backing allow -b ${file} -F qcow2 -f qcow2 ${path}`);
  assert.equal(code, 1, said);
  assert.match(said, /cannot also be the target/);
  assert.ok(readFileSync(file).equals(content));
});

test('names of up to 255 bytes', async () => {
  for (const bytes of [200, 243, 255]) {
    const name = `${'n'.repeat(bytes - 6)}.qcow2`;
    assertDone(`t create -q ${name} 1M && t convert top.raw ${name}`);
    await folder.assertSame('top.raw', name);
    rmSync(folder.file(name));
  }
  const wide = `${'ü'.repeat(124)}.qcow2`;
  assertDone(`t create -q ${wide} 1M`);
  rmSync(folder.file(wide));
});

test('images that cannot be created are refused with a message and code 1', () => {
  symlinkSync('two', folder.file('one'));
  symlinkSync('one', folder.file('two'));
  mkdirSync(folder.file('folder.qcow2'));
  for (const target of [
    '""',
    'nothere/',
    'nothere/x.qcow2',
    'base.qcow2/x.qcow2',
    `${'z'.repeat(300)}.qcow2`,
    'one',
    'one/x.qcow2',
    'folder.qcow2',
    'folder.qcow2/.',
    '/dev/null',
    '/dev/fd/77',
    '/proc/version',
    '/sys/x.qcow2',
  ]) {
    for (const verb of ['create -f qcow2', 'convert -O qcow2 base.qcow2']) {
      const { code, said } = inShell(
        `t ${verb} ${target} ${verb.startsWith('create') ? '1M' : ''}`,
      );
      assert.equal(code, 1, `${verb} ${target}: ${said}`);
      assert.match(said, /^tsvm image (create|convert): .+$/m);
      assert.doesNotMatch(said, /^ {4}at |partial/m, `${verb} ${target}`);
    }
  }
  assert.equal(inShell('t convert base.qcow2 /dev/stdout').code, 1, 'a pipe');
});

test('a dangling link: the file is created at its target', async () => {
  mkdirSync(folder.file('elsewhere'));
  symlinkSync('elsewhere/new.qcow2', folder.file('dangling.qcow2'));
  assertDone('t convert top.raw dangling.qcow2');
  await folder.assertSame('top.raw', 'elsewhere/new.qcow2');
  assert.deepEqual(partialFiles(folder.file('elsewhere')), []);
});

test('a file named by its descriptor is written in place', async () => {
  writeFileSync(folder.file('open.qcow2'), Buffer.alloc(9_000_000, 7));
  const { ino } = statSync(folder.file('open.qcow2'));
  assertDone('exec 7<>open.qcow2; t convert -q -O qcow2 top.raw /dev/fd/7');
  assert.equal(statSync(folder.file('open.qcow2')).ino, ino);
  await folder.assertSame('top.raw', 'open.qcow2');
  assertDone(
    'exec 8<>open.qcow2; ln -sf /proc/self/fd/8 through.qcow2; t create -q through.qcow2 1M',
  );
  assert.equal(statSync(folder.file('open.qcow2')).ino, ino);
  assert.match(await folder.qemuOutput('info', '%open.qcow2'), /1 MiB/);
});

test('a file that is a mount point is written in place', async (test) => {
  if (process.getuid?.() !== 0) return test.skip('mounting is for root');
  for (const name of ['mounted.qcow2', 'under.qcow2']) writeFileSync(folder.file(name), '');
  execFileSync('mount', ['--bind', folder.file('under.qcow2'), folder.file('mounted.qcow2')]);
  test.after(() => execFileSync('umount', [folder.file('mounted.qcow2')]));
  assertDone('t convert top.raw mounted.qcow2 2>said && grep -q "written in place" said');
  await folder.assertSame('top.raw', 'under.qcow2');
});

test('writable files in folders where none can be created; a folder that cannot be listed', async (test) => {
  if (skippedForNobody(test)) return;
  mkdirSync(folder.file('read-only'));
  writeFileSync(folder.file('read-only/out.qcow2'), 'old');
  chownSync(folder.file('read-only/out.qcow2'), NOBODY, NOBODY);
  mkdirSync(folder.file('sticky'));
  chmodSync(folder.file('sticky'), 0o1777);
  mkdirSync(folder.file('shared'), { mode: 0o777 });
  chmodSync(folder.file('shared'), 0o777);
  for (const name of ['sticky/out.qcow2', 'shared/out.qcow2']) {
    writeFileSync(folder.file(name), 'old');
    chmodSync(folder.file(name), 0o666);
  }
  mkdirSync(folder.file('unlisted'));
  chownSync(folder.file('unlisted'), NOBODY, NOBODY);
  chmodSync(folder.file('unlisted'), 0o300);
  for (const place of ['read-only', 'sticky', 'shared', 'unlisted']) {
    assertDone(`t convert top.raw ${place}/out.qcow2`, true);
    await folder.assertSame('top.raw', `${place}/out.qcow2`);
    assert.deepEqual(partialFiles(folder.file(place)), [], place);
  }
  assert.equal(statSync(folder.file('shared/out.qcow2')).uid, 0, 'it stays its owner’s');
  assert.equal(inShell('t create -q read-only/new.qcow2 1M', true).code, 1);
  assertDone(
    't create -q -t none unlisted/durable.qcow2 1M || t create -q unlisted/durable.qcow2 1M',
    true,
  );
});

test('a failed write in place leaves no half image', () => {
  writeFileSync(folder.file('in-place.qcow2'), 'x');
  const { code } = inShell(
    'exec 7<>in-place.qcow2; printf "\\377\\377\\377\\377" >bad.qcow2.tail; ' +
      't convert -c -O qcow2 top.raw torn.qcow2; ' +
      'dd if=/dev/zero bs=64k count=1 seek=5 of=torn.qcow2 conv=notrunc status=none; ' +
      'tr "\\0" "\\377" </dev/zero | dd bs=64k count=1 seek=5 of=torn.qcow2 conv=notrunc iflag=fullblock status=none; ' +
      't convert -q -O qcow2 torn.qcow2 /dev/fd/7',
  );
  assert.equal(code, 1);
  assert.equal(statSync(folder.file('in-place.qcow2')).size, 0);
});

test('partial files of killed runs are removed by the next run in that folder', async () => {
  mkdirSync(folder.file('remains'));
  copyFileSync(process.execPath, folder.file('large.raw'));
  const convert = ['convert', '-c', '-p', '-m', '1', '%large.raw', '%remains/killed.qcow2'];
  let killed = false;
  await assert.rejects(
    folder.tsvm(convert, {
      onStdout: (text, child) => {
        if (!/\([1-9]/.test(text)) return;
        killed = true;
        child.kill('SIGKILL');
      },
    }),
  );
  assert.ok(killed);
  assert.equal(partialFiles(folder.file('remains')).length, 1);
  writeFileSync(folder.file('remains/.own.partial'), 'a user’s');
  await folder.tsvmOutput('create', '-q', '%remains/other.qcow2', '1M');
  assert.deepEqual(readdirSync(folder.file('remains')).sort(), ['.own.partial', 'other.qcow2']);
});

test('names that are not UTF-8: images, backing files, distinct names', async () => {
  assertDone(`
    one=$(printf 'caf\\351.qcow2') two=$(printf 'caf\\350.qcow2') base=$(printf 'b\\351.img')
    mkdir names && cd names
    t create -q "$one" 1M && t create -q "$two" 2M && [ "$(ls | wc -l)" = 2 ] || exit 1
    qemu-img info "$one" | grep -q '1 MiB' && qemu-img info "$two" | grep -q '2 MiB' || exit 2
    for verb in info check map 'snapshot -l'; do t $verb "$one" >/dev/null || exit 3; done
    t info "$one" | grep -aq "$one" || exit 4
    t info --output json "$one" | jq . >/dev/null || exit 5
    truncate -s 1M "$base" && t create -q -b "$base" -F raw over.qcow2 || exit 6
    qemu-img check -q over.qcow2 && t check over.qcow2 >/dev/null && t map over.qcow2 >/dev/null || exit 7
    t convert -q over.qcow2 "$one" && t compare -q over.qcow2 "$one" || exit 8
    t rebase -q -b "$two" -F qcow2 over.qcow2 && t rebase -q -b '' over.qcow2 || exit 9
  `);
});

test('names with colons: names in headers open again', async () => {
  assertDone(`
    mkdir colons && cd colons && truncate -s 1M b:1.img && qemu-img create -q -f qcow2 src.qcow2 1M
    t create -q -b b:1.img -F raw a.qcow2 && t map a.qcow2 && qemu-img map a.qcow2 || exit 1
    t create -q -o data_file=d:1.raw d.qcow2 1M && t map d.qcow2 && qemu-img check -q d.qcow2 || exit 2
    t convert -q -B b:1.img -F raw src.qcow2 c.qcow2 && t map c.qcow2 && qemu-img map c.qcow2 || exit 3
    t rebase -q -b b:1.img -F raw src.qcow2 && t map src.qcow2 && qemu-img map src.qcow2 || exit 4
    t rebase -q -u -b b:1.img -F raw src.qcow2 && t map src.qcow2 || exit 5
    t create -q -b ./b:1.img -F raw e.qcow2 && t map e.qcow2 || exit 6
    ! t create -q -u -b c:1.img -F raw f.qcow2 1M 2>/dev/null || exit 7
  `);
});
