/** Published ports, names and networks of containers, in real machines. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ContainerShell, untilTrue } from '../support/container-shell.ts';
import { freePort } from '../support/free-port.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);
const sh = shell.sh.bind(shell);
/** Fetches `/`. busybox's wget crashes while it resolves a name: it is linked statically. */
const fetchLine = (host: string, port = 80) =>
  `sh -c 'printf "GET / HTTP/1.0\\r\\n\\r\\n" | timeout 5 nc ${host} ${port} | tail -n 1'`;
const SERVER = 'httpd -f -p 0.0.0.0:80 -h /www';

before(() => {
  shell.addImage('web', { ExposedPorts: { '80/tcp': {} } }, [
    { name: 'www', type: '5' },
    { name: 'www/index.html', data: 'page' },
  ]);
});
after(() => shell.close());

async function page(url: string): Promise<string> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(60_000), keepalive: false });
  return await answer.text();
}

test('run -d -p: localhost and both families answer, and the port is free when it ends', async () => {
  const port = await freePort();
  await ok(`tsvm run -d --name site -p ${port}:80 web ${SERVER}`);
  await shell.until(`curl -s http://127.0.0.1:${port}/`, /^page$/);
  for (const host of ['127.0.0.1', '[::1]', 'localhost']) {
    assert.equal(await page(`http://${host}:${port}/`), 'page');
  }
  assert.equal(await ok('tsvm port site 80'), `127.0.0.1:${port}\n[::1]:${port}\n`);
  const taken = await sh(`tsvm run --rm -p ${port}:80 web true`);
  assert.equal(taken.code, 125);
  assert.match(
    taken.stderr,
    new RegExp(`Bind for 127\\.0\\.0\\.1:${port} failed: port is already allocated`),
  );
  // At once after the end, while connections of before are in TIME_WAIT.
  await ok('tsvm rm -f site');
  await ok(`tsvm run -d --name site -p ${port}:80 web ${SERVER}`);
  await shell.until(`curl -s http://[::1]:${port}/`, /^page$/);
  await ok('tsvm restart -t 0 site');
  await shell.until(`curl -s http://127.0.0.1:${port}/`, /^page$/);
  const { pid } = JSON.parse(await ok(`tsvm inspect -f '{"pid":{{.State.Pid}}}' site`));
  process.kill(pid, 'SIGKILL');
  await shell.until(`curl -s http://127.0.0.1:${port}/ || echo refused`, /^refused\n/);
  await shell.until(`curl -s http://[::1]:${port}/ || echo refused`, /^refused\n/);
  await ok('tsvm rm -f site');
});

test('start while the port is taken: an error that names it; once it is free, the same container starts', async (t) => {
  const server = createServer((_, response) => response.end('host'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  await ok(`tsvm create --name late -p ${port}:80 web ${SERVER}`);
  for (let attempt = 0; attempt < 2; attempt++) {
    const taken = await sh('tsvm start late');
    assert.equal(taken.code, 1);
    assert.match(
      taken.stderr,
      new RegExp(`127\\.0\\.0\\.1:${port} failed: port is already allocated`),
    );
  }
  assert.equal(await page(`http://127.0.0.1:${port}/`), 'host');
  await new Promise((resolve) => server.close(resolve));
  await ok('tsvm start late');
  await shell.until(`curl -s http://127.0.0.1:${port}/`, /^page$/);
  await ok('tsvm rm -f late');
});

test('run -d -P: every exposed port on a random high port', async () => {
  await ok(`tsvm run -d --name random -P --expose 90 web ${SERVER}`);
  const lines = (await ok('tsvm port random')).trim().split('\n');
  assert.equal(lines.length, 4, lines.join(' '));
  const [, port = ''] = /^80\/tcp -> 127\.0\.0\.1:(\d+)$/.exec(lines[0] ?? '') ?? [];
  assert.ok(Number(port) >= 32_768);
  await shell.until(`curl -s http://127.0.0.1:${port}/`, /^page$/);
  await ok('tsvm rm -f random');
});

test('--add-host h:host-gateway reaches a service on the host’s loopback by name', async (t) => {
  const server = createServer((_, response) => response.end('host'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const line = (flags: string) => `tsvm run --rm ${flags} web ${fetchLine('h', port)}`;
  assert.equal(await ok(line('--add-host h:host-gateway')), 'host');
  const { stdout } = await sh(line('--add-host h:10.0.2.2'));
  assert.notEqual(stdout, 'host', 'only if it is asked for');
});

test('names of a container: hosts, resolv.conf, and none', async () => {
  const hosts = await ok('tsvm run --rm --hostname box --add-host db:10.1.2.3 web cat /etc/hosts');
  assert.match(hosts, /^127\.0\.0\.1\tlocalhost\n[\s\S]*\n10\.1\.2\.3\tdb\n10\.0\.2\.15\tbox\n$/);
  assert.equal(
    await ok(
      'tsvm run --rm --dns 9.9.9.9 --dns-search a.example --dns-option ndots:3 web cat /etc/resolv.conf',
    ),
    'nameserver 9.9.9.9\nsearch a.example\noptions ndots:3\n',
  );
  assert.equal(await ok(`tsvm run --rm --network none web sh -c 'ls /sys/class/net'`), 'lo\n');
});

test('containers on a network find each other by name and alias; on the default network not', async () => {
  assert.match(await ok('tsvm network create --label a=b front'), /^[0-9a-f]{64}\n$/);
  await ok(`tsvm run -d --name db --network front --network-alias database web ${SERVER}`);
  await shell.untilListening('db', 80);
  const fetchFrom = (host: string, flags = '--network front') =>
    sh(`tsvm run --rm ${flags} web ${fetchLine(host)}`);
  for (const host of ['db', 'database']) assert.equal((await fetchFrom(host)).stdout, 'page', host);
  assert.notEqual((await fetchFrom('db', '')).stdout, 'page');
  const address = (
    await ok(`tsvm inspect -f '{{.NetworkSettings.Networks.front.IPAddress}}' db`)
  ).trim();
  assert.match(
    await ok(
      `tsvm network inspect -f '{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}' front`,
    ),
    new RegExp(`^db ${address}/16\n$`),
  );
  const used = await sh('tsvm network rm front');
  assert.equal(used.code, 1);
  assert.match(used.stderr, /has active endpoints/);
  await ok('tsvm rm -f db && tsvm network rm front');
  assert.equal((await fetchFrom('db')).code, 125, 'the network is gone');
});

test('an address of one’s own, published ports on a network, and the outside by the uplink', async () => {
  const port = await freePort();
  await ok('tsvm network create --subnet 10.213.7.0/24 fixed');
  const flags = `--network fixed --ip 10.213.7.77 -p ${port}:80`;
  await ok(`tsvm run -d --name fixed ${flags} web ${SERVER}`);
  await shell.until(`curl -s http://127.0.0.1:${port}/`, /^page$/);
  assert.match(await ok('tsvm exec fixed ip addr show eth0'), /10\.213\.7\.77\/24/);
  const taken = await sh('tsvm run --rm --network fixed --ip 10.213.7.77 web true');
  assert.match(taken.stderr, /Address already in use/);
  const outside = await sh('tsvm run --rm --network fixed --ip 10.9.9.9 web true');
  assert.match(
    outside.stderr,
    /no configured subnet or ip-range contain the IP address 10\.9\.9\.9/,
  );
  await ok('tsvm rm -f fixed');
  const overlapping = await sh('tsvm network create --subnet 10.213.0.0/16 other');
  assert.match(overlapping.stderr, /Pool overlaps/);
  await ok('tsvm network rm fixed');
});

test('an internal network has no way out', async () => {
  await ok('tsvm network create --internal inside');
  assert.equal(
    await ok(
      `tsvm run --rm --network inside web sh -c 'ls /sys/class/net; ip route | grep -c default; true'`,
    ),
    'eth0\nlo\n0\n',
  );
  await ok('tsvm network rm inside');
});

test('network connect and disconnect, between create and start', async () => {
  await ok('tsvm network create one && tsvm network create two');
  await ok(`tsvm create --name joined --network one web ls /sys/class/net`);
  await ok('tsvm network connect --alias extra two joined && tsvm start joined');
  assert.match(await ok('tsvm wait joined && tsvm logs joined'), /^0\neth0\neth1\neth2\nlo\n$/);
  await ok(
    'tsvm network disconnect one joined && tsvm network disconnect two joined && tsvm start joined',
  );
  assert.match(await ok('tsvm wait joined && tsvm logs -n 1 joined'), /^0\nlo\n$/);
  await ok('tsvm rm joined');
  assert.equal(await ok('tsvm network prune -f'), 'Deleted Networks:\none\ntwo\n\n');
  assert.match(
    await ok('tsvm network ls'),
    /^NETWORK ID +NAME +DRIVER +SCOPE\n\S+ +bridge +bridge +local\n\S+ +none +null +local\n$/,
  );
});

test('network connect and disconnect of a container that runs', async () => {
  const port = await freePort();
  await ok('tsvm network create --subnet 10.213.9.0/24 live && tsvm network create back');
  await ok(`tsvm run -d --name far --network back web ${SERVER}`);
  await ok(`tsvm run -d --name plain -p ${port}:80 web ${SERVER}`);
  await ok(`tsvm run -d --name peer --network live web sleep 1000`);
  for (const name of ['far', 'plain']) await shell.untilListening(name, 80);
  await ok('tsvm network connect --alias extra --ip 10.213.9.9 live plain');
  assert.match(await ok('tsvm exec plain ip addr show eth1'), /10\.213\.9\.9\/24/);
  assert.equal(
    await ok(`tsvm inspect -f '{{.NetworkSettings.Networks.live.IPAddress}}' plain`),
    '10.213.9.9\n',
  );
  // Found by the names, in both directions, while the published port and the outside stay.
  assert.equal(await ok(`tsvm exec peer ${fetchLine('extra')}`), 'page');
  assert.equal(await ok(`tsvm exec plain ping -c 1 -W 9 peer >/dev/null; echo $?`), '0\n');
  assert.equal(await ok(`curl -s http://127.0.0.1:${port}/`), 'page');
  // A network that it was started with, and others until there is no room.
  await ok('tsvm network connect back peer');
  const far = await ok(`tsvm inspect -f '{{.NetworkSettings.Networks.back.IPAddress}}' far`);
  assert.equal(await ok(`tsvm exec peer ${fetchLine(far.trim())}`), 'page');
  const twice = await sh('tsvm network connect back peer');
  assert.match(twice.stderr, /endpoint with name peer already exists in network back/);
  await ok('tsvm network disconnect live peer');
  assert.equal(await ok(`tsvm exec peer sh -c 'ls /sys/class/net'`), 'eth1\neth2\nlo\n');
  assert.equal(await ok(`tsvm exec peer ${fetchLine('far')}`), 'page');
  assert.notEqual((await sh(`tsvm exec peer ${fetchLine('extra')}`)).stdout, 'page');
  for (let round = 0; round < 6; round++) {
    await ok('tsvm network disconnect live plain && tsvm network connect live plain');
  }
  assert.match(await ok('tsvm exec plain ip addr show eth1'), /10\.213\.9\.\d+\/24/);
  await ok('tsvm network disconnect live plain');
  // What is connected stays so at the next start.
  await ok('tsvm restart -t 0 peer');
  assert.equal(await ok(`tsvm exec peer ${fetchLine('far')}`), 'page');
  await ok('tsvm restart -t 0 plain');
  await shell.until(`curl -s http://127.0.0.1:${port}/`, /^page$/);
  await ok('tsvm rm -f peer plain far && tsvm network rm live back');
});

test('network connect: no room left, and a network that cannot be joined, change nothing', async () => {
  await ok('tsvm run -d --name full web sleep 1000');
  await ok('for i in 1 2 3 4 5 6; do tsvm network create --subnet 10.213.$i.0/24 n$i; done');
  await ok('for i in 1 2 3 4 5; do tsvm network connect n$i full; done');
  const before = await ok(`tsvm inspect -f '{{json .NetworkSettings.Networks}}' full`);
  const full = await sh('tsvm network connect n6 full');
  assert.notEqual(full.code, 0);
  assert.match(full.stderr, /no place for another network until one is removed/);
  await ok('tsvm network disconnect n5 full');
  const wrong = await sh('tsvm network connect --ip 10.9.9.9 n6 full');
  assert.match(wrong.stderr, /no configured subnet or ip-range contain the IP address 10\.9\.9\.9/);
  await ok('tsvm network connect n5 full');
  assert.deepEqual(
    Object.keys(JSON.parse(await ok(`tsvm inspect -f '{{json .NetworkSettings.Networks}}' full`))),
    Object.keys(JSON.parse(before)),
  );
  assert.equal((await sh('tsvm network rm n6')).code, 0, 'nobody is on it');
  await ok('tsvm run -d --name alone --network none web sleep 1000');
  const alone = await sh('tsvm network connect n1 alone');
  assert.match(alone.stderr, /one of the networks in private \(none\) mode/);
  await ok('tsvm rm -f full alone && tsvm network rm n1 n2 n3 n4 n5');
});

/** Bridges of ours, and their name servers. */
function leftOnHost(id: string): string {
  const links = execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' });
  const own = links.split('\n').filter((line) => line.includes(`br-${id.slice(0, 12)}`));
  const servers = readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(id);
    } catch {
      return false;
    }
  });
  return [...own, ...servers].join('\n');
}

test('kill -9 of all members leaves neither bridge, name server nor address', async () => {
  const id = (await ok('tsvm network create doomed')).trim();
  for (const name of ['first', 'second'])
    await ok(`tsvm run -d --name ${name} --network doomed web sleep 1000`);
  await shell.killSupervisors('first', 'second');
  await untilGone(id);
  await ok(`tsvm run --rm --network doomed web true`);
  assert.deepEqual(readdirSync(join(shell.runtime, 'networks', id, 'endpoints')), []);
  await ok('tsvm rm first second && tsvm network rm doomed');
});

/** The process that has a network's FIFO open for reading. */
function holderOf(id: string): number {
  const found = readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return words[0] === 'sh' && words.some((word) => word.endsWith(id));
    } catch {
      return false;
    }
  });
  assert.equal(found.length, 1, `holders: ${found.join(' ')}`);
  return Number(found[0]);
}

async function killHolder(id: string): Promise<void> {
  const pid = holderOf(id);
  process.kill(pid, 'SIGKILL');
  await untilTrue(
    () => !existsSync(`/proc/${pid}/fd/0`),
    () => `the holder ${pid} does not end`,
  );
}

async function untilGone(id: string): Promise<void> {
  await untilTrue(
    () => leftOnHost(id) === '',
    () => leftOnHost(id),
  );
}

test('kill -9 of the holder of a network: its members clean up, or the next command', async () => {
  const id = (await ok('tsvm network create orphan')).trim();
  await ok('tsvm run -d --name member --network orphan web sleep 1000');
  await killHolder(id);
  await ok('tsvm stop -t 0 member');
  assert.equal(leftOnHost(id), '', 'the last member has cleaned up');
  await ok('tsvm start member');
  await killHolder(id);
  await shell.killSupervisors('member');
  assert.notEqual(leftOnHost(id), '', 'the bridge is there still');
  await ok('tsvm ps -a');
  await untilGone(id);
  // Another one takes over where members are left.
  await ok(`tsvm run -d --name first --network orphan web ${SERVER}`);
  await shell.untilListening('first', 80);
  await killHolder(id);
  const page = await ok(`tsvm run --rm --network orphan web ${fetchLine('first')}`);
  assert.equal(page, 'page');
  await ok('tsvm rm -f member first');
  await untilGone(id);
  await ok('tsvm network rm orphan');
});
