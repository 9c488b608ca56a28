/** Archives in and out of a container, its changes as a layer; GNU tar is the oracle. */
import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { after, before, describe, type TestContext, test } from 'node:test';
import { type AgentGuest, bootAgentGuest, busyboxMembers } from '../support/agent-guest.ts';
import { makeTar } from '../support/tar-maker.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';

const LONG = `${'long-name-'.repeat(12)}end`;

describe('archives', () => {
  let guest: AgentGuest;
  const releases: (() => unknown)[] = [];

  before(async () => {
    const members = busyboxMembers([
      { name: 'data', type: '5', mode: 0o750 },
      { name: 'data/gone', data: 'x' },
      { name: 'data/stays', data: 'x' },
      { name: 'replaced', type: '5' },
      { name: 'replaced/old', data: 'x' },
    ]);
    const test = { after: (fn: () => unknown) => releases.push(fn) } as unknown as TestContext;
    guest = await bootAgentGuest(test, { members });
    await guest.agent.assemble({
      ...guest.root,
      mounts: [{ type: 'tmpfs', destination: '/ram' }],
    });
    const first = await guest.agent.startProcess({ args: ['sleep', '1000'], env: ['PATH=/bin'] });
    first.stdout.resume();
    first.stderr?.resume();
  });

  after(async () => {
    for (const release of releases.reverse()) await release();
  });

  const inside = async (script: string): Promise<string> => {
    const { stdout, stderr, end } = await guest.run(['sh', '-c', script]);
    deepEqual([stderr, end], ['', { exitCode: 0 }]);
    return stdout.trim();
  };
  const listing = (archive: Buffer, ...flags: string[]) =>
    execFileSync('tar', ['-t', ...flags], { input: archive, encoding: 'utf8' })
      .trim()
      .split('\n');

  test('a folder of a container as an archive that GNU tar unpacks alike', async (t) => {
    await inside(`mkdir -p /w/sub /w/empty; cd /w; echo one > one; ln one two; ln -s ../x link
      echo long > ${LONG}; chown 1000:50 one; chmod 4755 one; mkfifo fifo; mknod node c 1 3
      touch -d '2001-02-03 04:05:06' one; head -c 3000000 /dev/urandom > sub/big; md5sum sub/big > sum
      chown 3000000:3000000 sub
      mkdir many; cd many; for i in $(seq 150); do echo $i > a$i; ln a$i b$i; done`);
    const folder = temporaryFolder(t);
    const archive = await buffer(await guest.agent.readArchive('/w'));
    execFileSync('tar', ['-x', '-p', '--same-owner', '-C', folder], { input: archive });
    const w = join(folder, 'w');
    const one = lstatSync(join(w, 'one'));
    deepEqual(
      [one.uid, one.gid, one.mode & 0o7777, one.nlink, one.mtime.toISOString()],
      [1000, 50, 0o4755, 2, '2001-02-03T04:05:06.000Z'],
    );
    equal(lstatSync(join(w, 'sub')).uid, 3_000_000);
    equal(readFileSync(join(w, LONG), 'utf8'), 'long\n');
    for (const number of [1, 75, 150]) {
      equal(readFileSync(join(w, `many/b${number}`), 'utf8'), `${number}\n`);
      equal(lstatSync(join(w, `many/a${number}`)).nlink, 2);
    }
    ok(lstatSync(join(w, 'fifo')).isFIFO());
    equal(lstatSync(join(w, 'node')).rdev, 0x103);
    execFileSync('md5sum', ['--status', '-c', 'sum'], { cwd: w });
    deepEqual(listing(await buffer(await guest.agent.readArchive('/w/link'))), ['link']);
    deepEqual(listing(await buffer(await guest.agent.readArchive('/w/empty/.'))), ['empty/']);
  });

  test('an archive that GNU tar made is unpacked alike', async (t) => {
    const folder = temporaryFolder(t);
    const source = join(folder, 'source');
    mkdirSync(join(source, 'sub'), { recursive: true });
    writeFileSync(join(source, 'sub', LONG), 'long');
    writeFileSync(join(source, 'file'), 'x'.repeat(100_000));
    chownSync(join(source, 'file'), 1000, 50);
    chmodSync(join(source, 'file'), 0o2711);
    symlinkSync('/etc/passwd', join(source, 'link'));
    utimesSync(join(source, 'sub'), 1e9, 1e9);
    for (const format of ['gnu', 'posix']) {
      const archive = execFileSync('tar', ['-c', `--format=${format}`, '-C', folder, 'source']);
      await inside('rm -rf /in; mkdir /in');
      await guest.agent.writeArchive('/in', Readable.from([archive]), { keepOwners: true });
      const stats = await inside(
        `cd /in/source; stat -c '%a %u:%g %s' file; stat -c %Y sub; readlink link; cat sub/${LONG}`,
      );
      equal(stats, '2711 1000:50 100000\n1000000000\n/etc/passwd\nlong', format);
    }
    const archive = execFileSync('tar', ['-c', '-C', source, 'file']);
    await guest.agent.writeArchive('/in', Readable.from([archive]));
    equal(await inside(`stat -c '%u:%g' /in/file`), '0:0');
  });

  test('paths with .. and links do not leave the container’s root', async () => {
    await inside('mkdir /trap; ln -s / /trap/root; ln -s /../../.. /trap/up; mkdir /target');
    const evil = makeTar([
      { name: '../../../etc/evil', data: 'evil' },
      { name: 'root/proof', data: 'in the container' },
      { name: 'up/image', type: '5' },
    ]);
    await guest.agent.writeArchive('/trap', Readable.from([evil]));
    equal(
      await inside('cat /trap/etc/evil; echo; cat /proof; ls -d /image'),
      'evil\nin the container/image',
    );
    equal((await guest.agent.pathStat('/trap/up/../../../../etc/passwd')).name, 'passwd');
    // The agent's own files are out of reach.
    await rejects(guest.agent.pathStat('/trap/up/init'), { code: 'path-not-found' });
    await rejects(guest.agent.readArchive('/trap/up/writable'), { code: 'path-not-found' });
  });

  test('errors of paths and archives', async () => {
    await rejects(guest.agent.readArchive('/no/such'), { code: 'path-not-found' });
    await rejects(guest.agent.readArchive('/etc/passwd/x'), { code: 'wrong-path-type' });
    const archive = () => Readable.from([makeTar([{ name: 'data', data: 'a file' }])]);
    await rejects(guest.agent.writeArchive('/etc/passwd', archive()), { code: 'wrong-path-type' });
    await rejects(guest.agent.writeArchive('/', archive(), { noOverwriteDirectory: true }), {
      code: 'wrong-path-type',
      message: 'cannot overwrite directory data with non-directory',
    });
    const noise = () => Readable.from([Buffer.alloc(4096, 'noise')]);
    await rejects(guest.agent.writeArchive('/tmp', noise()), { code: 'invalid-request' });
    const cut = makeTar([{ name: 'cut', data: Buffer.alloc(5000) }]).subarray(0, 2048);
    await rejects(guest.agent.writeArchive('/tmp', Readable.from([cut])), {
      code: 'invalid-request',
      message: 'the archive is cut off',
    });
    const big = () => Readable.from(Array(64).fill(Buffer.alloc(2 ** 20, 'noise')));
    for (let i = 0; i < 5; i++) {
      await rejects(guest.agent.writeArchive('/no/such', big()), { code: 'path-not-found' });
    }
    const failing = new Readable({ read: () => failing.destroy(new Error('the source broke')) });
    await rejects(guest.agent.writeArchive('/tmp', failing), { message: 'the source broke' });
  });

  test('what a path is', async () => {
    await inside('echo 12345 > /tmp/f; chmod 640 /tmp/f; chown 7:8 /tmp/f; ln -s f /tmp/l');
    const { modifiedMs, ...file } = await guest.agent.pathStat('/tmp/f');
    deepEqual(file, {
      name: 'f',
      sizeBytes: 6,
      mode: 0o100640,
      userId: 7,
      groupId: 8,
      linkTarget: '',
    });
    ok(Math.abs(modifiedMs - Date.now()) < 3_600_000);
    const link = await guest.agent.pathStat('/tmp/l');
    deepEqual([link.name, link.mode & 0o170000, link.linkTarget], ['l', 0o120000, '/tmp/f']);
    equal((await guest.agent.pathStat('/tmp/l/')).name, 'l');
  });

  test('changes, the layer of them, and the whole root', async () => {
    await inside(`rm -rf /w /in /trap /target /etc/evil /proof /image /tmp/*; rm /data/gone
      echo new > /data/new; rm -r /replaced; mkdir /replaced; echo in > /replaced/new; echo > /ram/x`);
    const changes = await guest.agent.changes();
    const interesting = changes.filter(({ path }) => /^\/(data|replaced|ram|etc|dev)/.test(path));
    deepEqual(
      interesting.map(({ kind, path }) => `${kind} ${path}`),
      [
        'changed /data',
        'deleted /data/gone',
        'added /data/new',
        'added /ram',
        'changed /replaced',
        'added /replaced/new',
      ],
    );
    const layer = await buffer(await guest.agent.upperArchive());
    const names = listing(layer)
      .filter((name) => /^(data|replaced|ram)/.test(name))
      .sort();
    deepEqual(names, [
      'data/',
      'data/.wh.gone',
      'data/new',
      'ram/',
      'replaced/',
      'replaced/.wh..wh..opq',
      'replaced/new',
    ]);
    match(listing(layer, '-v').find((line) => line.endsWith(' data/')) ?? '', /^drwxr-x---/);
    const root = listing(await buffer(await guest.agent.rootArchive()));
    for (const name of ['bin/busybox', 'data/stays', 'data/new', 'replaced/new', 'proc/', 'ram/']) {
      ok(root.includes(name), name);
    }
    ok(!root.some((name) => /^(proc|dev|sys|ram)\/./.test(name) || name === 'data/gone'));
    const busybox = execFileSync('tar', ['-xO', 'bin/busybox'], {
      input: await buffer(await guest.agent.rootArchive()),
      maxBuffer: 2 ** 26,
    });
    ok(busybox.equals(readFileSync('/bin/busybox')));
  });
});
