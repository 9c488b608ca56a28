/** Containers whose machines go on from a template, which the first run has left. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerShell, TEMPLATE_PATIENCE_MS, untilTrue } from '../support/container-shell.ts';

const shell = new ContainerShell();
const cache = join(shell.folder, 'cache');
const templates = join(cache, 'tsvm/templates');
shell.env['XDG_CACHE_HOME'] = cache;

/** A machine that goes on from a template has this word on its command line. */
const RESTORED = 'grep -c clocksource=kvm-clock /proc/cmdline';

function templateNames(): string[] {
  try {
    return readdirSync(templates).filter((name) => /^[0-9a-f]{32}$/.test(name));
  } catch {
    return [];
  }
}

async function untilTemplates(count: number): Promise<void> {
  await untilTrue(
    () => templateNames().length >= count,
    () => `${templateNames().length} of ${count} templates`,
    TEMPLATE_PATIENCE_MS,
  );
}

before(async () => {
  mkdirSync(cache);
  await shell.addImage('box');
});
after(() => shell.close());

test('the first run boots, and leaves a template that the next go on from', async () => {
  assert.equal((await shell.sh(`tsvm run --rm box sh -c '${RESTORED}'`)).stdout, '0\n');
  await untilTemplates(1);
  const [name = ''] = templateNames();
  assert.equal(statSync(templates).mode & 0o777, 0o700);
  for (const file of ['memory', 'state']) {
    assert.equal(statSync(join(templates, name, file)).mode & 0o777, 0o600);
  }
  const script = `${RESTORED}; hostname; cat /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id; nproc; date +%s`;
  const look = async (options: string) =>
    (await shell.ok(`tsvm run --rm ${options} box sh -c '${script}'`)).trim().split('\n');
  const first = await look('--hostname first --mac-address 02:11:22:33:44:55');
  const second = await look('--hostname second');
  assert.deepEqual([first[0], first[1], first[2]], ['1', 'first', '02:11:22:33:44:55']);
  assert.deepEqual([second[0], second[1]], ['1', 'second']);
  assert.match(second[2] ?? '', /^02:42:/);
  assert.notEqual(first[3], second[3], 'each has a boot id of its own');
  assert.equal(first[4], second[4]);
  assert.ok(Math.abs(Number(second[5]) - Date.now() / 1000) < 30);
  assert.equal(templateNames().length, 1);
});

test('ten at once share a template; each has its own memory, disk and random numbers', async () => {
  const line =
    'for i in 0 1 2 3 4 5 6 7 8 9; do tsvm run --rm box sh -c "cat /mark 2>/dev/null; echo $i >/mark; cat /mark; head -c 8 /dev/urandom | hexdump -e \'\\"%x\\"\'; echo" >out$i & done; wait; cat out*';
  const lines = (await shell.ok(line, { timeoutMs: 300_000 })).trim().split('\n');
  assert.equal(lines.length, 20, lines.join(' '));
  assert.equal(new Set(lines.filter((_, index) => index % 2 === 1)).size, 10);
  assert.deepEqual(
    lines.filter((_, index) => index % 2 === 0),
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'],
  );
});

test('stop and start, exec, published ports and limits of a machine that was restored', async () => {
  await shell.ok(
    `tsvm run -d --name web -p 127.0.0.1:0:80 --pids-limit 50 box sh -c 'echo kept >>/data; while :; do echo hello | nc -l -p 80; done'`,
  );
  assert.equal(await shell.ok(`tsvm exec web sh -c '${RESTORED}'`), '1\n');
  await shell.until(
    `p=$(tsvm port web 80 | cut -d: -f2); busybox nc 127.0.0.1 $p </dev/null`,
    /^hello$/m,
  );
  // A layer that has been written is for another template.
  await shell.ok('tsvm stop -t 0 web && tsvm start web');
  await shell.until(`tsvm exec web sh -c '${RESTORED}; cat /data'`, /^0\nkept\nkept\n$/);
  await shell.ok('tsvm stop -t 0 web');
  await untilTemplates(2);
  await shell.ok('tsvm start web');
  await shell.until(`tsvm exec web sh -c '${RESTORED}; cat /data'`, /^1\nkept\nkept\nkept\n$/);
  await shell.ok('tsvm rm -f web');
});

test('the writable layer that a template has mounted is a sound file system, with what a container wrote', async () => {
  const script = `${RESTORED}; echo mine >/etc/mine; rm /etc/group; head -c 3000000 /dev/zero >/large`;
  assert.equal(await shell.ok(`tsvm run --name writer box sh -c '${script}'`), '1\n');
  assert.equal(await shell.ok('tsvm diff writer'), 'C /etc\nD /etc/group\nA /etc/mine\nA /large\n');
  const id = (await shell.ok('tsvm ps -aq --no-trunc')).trim();
  const layer = join(shell.folder, 'data/containers', id, 'writable.qcow2');
  await shell.ok(`qemu-img check ${layer} && qemu-img convert -O raw ${layer} raw`);
  await shell.ok('PATH=$PATH:/usr/sbin; e2fsck -fn raw && rm raw');
  await shell.ok('tsvm rm writer');
});

test('a machine with another memory boots, and leaves another template', async () => {
  assert.equal((await shell.sh(`tsvm run --rm -m 300m box sh -c '${RESTORED}'`)).stdout, '0\n');
  await untilTemplates(3);
  assert.equal((await shell.sh(`tsvm run --rm -m 300m box sh -c '${RESTORED}'`)).stdout, '1\n');
});

test('TSVM_WARM_START=off: the machine boots', async () => {
  const env = { TSVM_WARM_START: 'off' };
  const off = await shell.sh(`tsvm run --rm box sh -c '${RESTORED}'`, { env });
  assert.equal(off.stdout, '0\n');
});

test('volumes: their files are served by a process that maps the memory of the restored machine', async () => {
  const count = templateNames().length;
  const script = `${RESTORED}; cat /here/given; head -c 3000000 /dev/zero >/here/made; echo kept >/volume/file`;
  const flags = '-v "$PWD":/here -v "$PWD/given":/single:ro -v kept:/volume';
  await shell.ok('echo content >given');
  assert.equal(await shell.ok(`tsvm run --rm ${flags} box sh -c '${script}'`), '1\ncontent\n');
  const second = `${RESTORED}; cat /single /volume/file; wc -c </here/made`;
  assert.equal(
    await shell.ok(`tsvm run --rm ${flags} box sh -c '${second}'`),
    '1\ncontent\nkept\n3000000\n',
  );
  await shell.ok('tsvm volume rm kept; rm made given');
  assert.equal(templateNames().length, count, 'it is the same template');
});

test('networks with a bridge: a restored machine joins them, and leaves them', async () => {
  await shell.ok('tsvm network create bridged');
  try {
    const line = `${RESTORED}; ls /sys/class/net | tr "\\n" " "; exec httpd -f -p 0.0.0.0:80 -h /etc`;
    await shell.ok(`tsvm run -d --name server --network bridged box sh -c '${line}'`);
    await shell.untilListening('server', 80);
    const fetch = `${RESTORED}; printf "GET /passwd HTTP/1.0\\r\\n\\r\\n" | timeout 20 nc server 80 | tail -n 1`;
    const [warm, text] = (
      await shell.ok(`tsvm run --rm --network bridged box sh -c '${fetch}'`)
    ).split('\n');
    assert.equal(warm, '1');
    assert.equal(`${text}\n`, await shell.ok('tsvm exec server tail -n 1 /etc/passwd'));
    assert.equal(await shell.ok('tsvm logs server'), '1\neth0 eth1 lo ');
    await shell.ok('tsvm network disconnect bridged server');
    assert.equal(await shell.ok('tsvm exec server ls /sys/class/net'), 'eth1\nlo\n');
    await shell.ok('tsvm network connect bridged server');
  } finally {
    await shell.ok('tsvm rm -f server; tsvm network rm bridged');
  }
});

test('a template has the modules that containers need', async (t) => {
  /** Names, the newest first. */
  const modules = async (options: string) => {
    const script = `${RESTORED}; [ ! -e /proc/modules ] || cut -d " " -f 1 /proc/modules`;
    const output = await shell.ok(`tsvm run --rm ${options} box sh -c '${script}'`);
    const [warm, ...names] = output.trimEnd().split('\n');
    assert.equal(warm, '1', output);
    return names;
  };
  const without = await modules('');
  if (without.length === 0) {
    t.skip('the kernel has all of them built in');
    return;
  }
  t.diagnostic(without.join(' '));
  // Only a network needs nf_tables, and this container has none. The rehearsal loads erofs before it.
  assert.ok(without.includes('nf_tables') && without.includes('overlay'));
  assert.ok(without.indexOf('erofs') > without.indexOf('nf_tables'));
  await shell.ok('tsvm network create loads-modules');
  try {
    assert.deepEqual(await modules('--network loads-modules'), without);
  } finally {
    await shell.ok('tsvm network rm loads-modules');
  }
});

test('a machine of a template without any network joins one with a bridge', async () => {
  const count = templateNames().length;
  const { stdout } = await shell.sh(`tsvm run --rm --network none box sh -c '${RESTORED}'`);
  assert.equal(stdout, '0\n');
  await untilTemplates(count + 1);
  await shell.ok('tsvm network create --internal inner');
  assert.equal(
    await shell.ok(`tsvm run --rm --network inner box sh -c '${RESTORED}; ls /sys/class/net'`),
    '1\neth0\nlo\n',
  );
  await shell.ok('tsvm network rm inner');
});

test('a port that is taken is an error, and no fault of the template', async () => {
  const taken = createSocket('udp4').bind(0, '127.0.0.1');
  try {
    await once(taken, 'listening');
    const { port } = taken.address();
    const count = templateNames().length;
    const line = `tsvm run --rm -p 127.0.0.1:${port}:7/udp box true`;
    const { code, stderr } = await shell.sh(line);
    assert.equal(code, 125, stderr);
    assert.match(stderr, new RegExp(`${port}`));
    assert.equal(templateNames().length, count);
  } finally {
    taken.close();
  }
});

test('a damaged template is removed, the machine boots, and doctor says why', async () => {
  // It ends with an error where the host lacks something else.
  const doctor = async (env?: Record<string, string>) =>
    (await shell.sh('tsvm doctor', { ...(env && { env }) })).stdout;
  assert.match(await doctor(), /^ok +warm starts of containers: saved machines: [1-9], /m);
  assert.match(await doctor({ TSVM_WARM_START: 'off' }), /^note +every container boots: /m);
  const count = templateNames().length;
  for (const name of templateNames()) truncateSync(join(templates, name, 'memory'), 4096);
  assert.equal((await shell.sh(`tsvm run --rm box sh -c '${RESTORED}'`)).stdout, '0\n');
  assert.equal(templateNames().length, count - 1);
  assert.equal(readdirSync(templates).filter((name) => name.endsWith('.failed')).length, 1);
  assert.match(await doctor(), /^note +containers boot, as no machine could be saved for .*: .+$/m);
});

test('system df shows templates, and system prune -a removes them', async () => {
  assert.match(await shell.ok('tsvm system df'), /^Warm starts +[1-9] +0 +\d/m);
  assert.match(await shell.ok('tsvm system prune -a -f'), /^Total reclaimed space: [1-9]/m);
  assert.deepEqual(templateNames(), []);
  assert.match(await shell.ok('tsvm system df'), /^Warm starts +0 +0 +0B/m);
  assert.match(await shell.ok('tsvm doctor || :'), /^ok +warm starts of .*: the first "tsvm run"/m);
});
