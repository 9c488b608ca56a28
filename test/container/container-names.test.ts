/** Names that containers resolve: those of the containers on their networks, and the outside's. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { ContainerShell } from '../support/container-shell.ts';
import { HOST_ADDRESS, NEEDS_ROOT, NetworkNamespace } from '../support/network-namespace.ts';

const shell = new ContainerShell();
const ok = shell.ok.bind(shell);

/** The host's resolver, glibc's: it asks again by TCP if an answer is truncated. */
const GLIBC = ['/lib64/ld-linux-x86-64.so.2', '/lib/x86_64-linux-gnu/libc.so.6', '/usr/bin/getent'];

before(() => {
  const files = GLIBC.map((path) => ({
    name: path.slice(1),
    data: readFileSync(path),
    mode: 0o755,
  }));
  shell.addImage('box', {}, files);
});
after(() => shell.close());
afterEach(() => shell.sh('tsvm rm -f $(tsvm ps -aq); tsvm network prune -f'));

/** What busybox's resolver finds for a container: addresses, or names; sorted. */
async function lookUp(container: string, name: string, type = 'a'): Promise<string[]> {
  const { stdout } = await shell.sh(`tsvm exec ${container} nslookup -type=${type} ${name}`);
  const answers = stdout.split('\n\n').slice(1).join('\n');
  const found = answers.matchAll(/^(?:Address: (\S+)|\S+\tname = (\S+))$/gm);
  return [...found].map(([, address, other]) => address ?? other ?? '').sort();
}

async function addressOf(container: string, network: string): Promise<string> {
  const format = `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`;
  return (await ok(`tsvm inspect -f '${format}' ${container}`)).trim();
}

test('names of every network that a container is on, at its start and later, and of no other', async () => {
  await ok('for n in front back side; do tsvm network create $n; done');
  await ok('tsvm run -d --name web --network front --network-alias site box sleep 1000');
  await ok('tsvm run -d --name db --network back --network-alias data.store box sleep 1000');
  await ok('tsvm run -d --name aside --network side box sleep 1000');
  await ok('tsvm create --name both --network front box sleep 1000');
  await ok('tsvm network connect --alias middle back both && tsvm start both');
  assert.match(await ok('tsvm exec both cat /etc/resolv.conf'), /^nameserver 127\.0\.0\.11\n/);
  const web = await addressOf('web', 'front');
  const db = await addressOf('db', 'back');
  for (const name of ['web', 'site', 'SITE', 'web.front', 'both.front']) {
    const expected = name.startsWith('both') ? await addressOf('both', 'front') : web;
    assert.deepEqual(await lookUp('both', name), [expected], name);
  }
  for (const name of ['db', 'data.store', 'db.back']) {
    assert.deepEqual(await lookUp('both', name), [db], name);
  }
  assert.deepEqual(await lookUp('db', 'middle'), [await addressOf('both', 'back')]);
  assert.deepEqual(
    await lookUp('both', `${web.split('.').reverse().join('.')}.in-addr.arpa`, 'ptr'),
    ['web.front'],
  );
  assert.deepEqual(await lookUp('both', 'db', 'aaaa'), [], 'no IPv6, and nobody else is asked');
  for (const name of ['aside', 'aside.side', 'web.back', 'nobody']) {
    assert.deepEqual(await lookUp('both', name), [], name);
  }
  assert.deepEqual(await lookUp('web', 'db'), [], 'a neighbour’s other network');
  // While it runs.
  await ok('tsvm network connect --alias late side both');
  assert.deepEqual(await lookUp('both', 'aside'), [await addressOf('aside', 'side')]);
  assert.deepEqual(await lookUp('aside', 'late'), [await addressOf('both', 'side')]);
  await ok('tsvm network disconnect back both');
  assert.deepEqual(await lookUp('both', 'db'), []);
  assert.deepEqual(await lookUp('both', 'web'), [web]);
  await ok('tsvm kill web');
  await shell.until('tsvm ps -a', /Exited.*web/);
  assert.deepEqual(await lookUp('both', 'web'), [], 'a container that has ended');
  await ok('tsvm rm -f web db aside both && tsvm network rm front back side');
});

test('a container that is renamed is found by its new name, and by its old one no more', async () => {
  await ok('tsvm network create front && tsvm network create back');
  await ok('tsvm run -d --name old --network front --network-alias site box sleep 1000');
  await ok('tsvm network connect back old');
  await ok('tsvm run -d --name peer --network front box sleep 1000');
  await ok('tsvm network connect back peer');
  const address = await addressOf('old', 'front');
  await ok('tsvm rename old new');
  assert.deepEqual(await lookUp('peer', 'old'), []);
  assert.deepEqual(await lookUp('peer', 'old.front'), []);
  assert.deepEqual(await lookUp('peer', 'new.front'), [address]);
  assert.deepEqual(await lookUp('peer', 'new'), [address]);
  assert.deepEqual(await lookUp('peer', 'site'), [address], 'an alias stays');
  const pointer = `${address.split('.').reverse().join('.')}.in-addr.arpa`;
  assert.deepEqual(await lookUp('peer', pointer, 'ptr'), ['new.front']);
  // Networks that it joins later, paused or not, and its next start have the new name, and so do events.
  await ok('tsvm pause new && tsvm rename new newer && tsvm unpause newer');
  await ok('tsvm network disconnect back newer && tsvm network connect back newer');
  assert.deepEqual(await lookUp('peer', 'newer.back'), [await addressOf('newer', 'back')]);
  await ok('tsvm restart -t 0 newer');
  assert.deepEqual(await lookUp('peer', 'newer.front'), [await addressOf('newer', 'front')]);
  assert.deepEqual(await lookUp('peer', 'new'), []);
  const events = await ok(
    `tsvm events --since 10m --until 0s --format '{{.Action}} {{.Actor.Attributes.name}}'`,
  );
  assert.match(events, /^rename new\n(?:.*\n)*rename newer\n(?:.*\n)*die newer$/m);
  await ok('tsvm rm -f newer peer && tsvm network rm front back');
});

test('name servers of the container’s own have port 53, and the resolver answers all the same', async () => {
  await ok('tsvm network create own');
  await ok('tsvm run -d --name peer --network own box sleep 1000');
  await ok(
    `tsvm run -d --name named --network own -p 127.0.0.1::53 box nc -ll -p 53 -e echo a name server`,
  );
  await shell.until('tsvm exec named netstat -tln', /0\.0\.0\.0:53 |:::53 /);
  assert.equal(await ok('tsvm exec named nc 127.0.0.1 53'), 'a name server\n');
  assert.deepEqual(await lookUp('named', 'peer'), [await addressOf('peer', 'own')]);
  await ok('tsvm rm -f peer named && tsvm network rm own');
});

/** A name server that answers wrongly before it answers, or never. */
const HOSTILE_SERVER = `
const socket = require('node:dgram').createSocket('udp4');
let silent = 0;
const answerTo = (query, address) => {
  const answer = Buffer.concat([query, Buffer.from('c00c00010001000000000004', 'hex'), Buffer.from(address)]);
  answer.writeUInt16BE(0x8180, 2);
  answer.writeUInt16BE(1, 6);
  answer.writeUInt16BE(0, 10);
  return answer;
};
socket.on('message', (message, { address, port }) => {
  const query = message.subarray(0, message.indexOf(0, 12) + 5);
  const send = (bytes) => socket.send(bytes, port, address);
  if (query.includes('silent')) {
    silent++;
    if (silent === 30) console.log('silent');
    return;
  }
  const wrong = answerTo(query, [6, 6, 6, 6]);
  for (let length = 0; length < wrong.length - 16; length++) send(wrong.subarray(0, length));
  const changed = (at, value) => {
    const copy = Buffer.from(wrong);
    copy[at] = value;
    send(copy);
  };
  changed(0, wrong[0] ^ 1);
  changed(1, wrong[1] ^ 1);
  changed(2, 1);
  changed(5, 2);
  changed(13, wrong[13] ^ 1);
  send(Buffer.alloc(60000, 255));
  send(answerTo(query, [1, 2, 3, 4]));
});
socket.bind(53, process.argv[2], () => console.log('ready'));
`;

/** glibc's answer: the addresses. */
async function getent(container: string, name: string): Promise<string[]> {
  const { stdout } = await shell.sh(`tsvm exec ${container} getent ahostsv4 ${name}`);
  return [...new Set([...stdout.matchAll(/^(\S+) /gm)].map(([, address = '']) => address))].sort();
}

test(
  'the outside through a resolver on the host’s loopback: long answers by TCP, as on networks',
  NEEDS_ROOT,
  async (t) => {
    const namespace = await NetworkNamespace.create(t, { nameServer: '127.0.0.53' });
    const long = Array.from({ length: 90 }, (_, index) => `10.4.0.${index + 1}`);
    const records = long.map((address) => `--host-record=long.example,${address}`);
    const options = ['--keep-in-foreground', '--conf-file=/dev/null', '--no-hosts', '--no-resolv'];
    const chain = Array.from(
      { length: 9 },
      (_, index) => `--cname=link${index}.example,link${index + 1}.example`,
    );
    const serve = (address: string, ...own: readonly string[]) => {
      const socket = ['--bind-interfaces', `--listen-address=${address}`, '--pid-file='];
      const names = [...records, ...chain, '--cname=link9.example,long.example', ...own];
      namespace.start(t, 'dnsmasq', ...options, ...socket, ...names);
    };
    serve('127.0.0.53', '--address=/db/10.66.66.66');
    serve(HOST_ADDRESS, '--host-record=own.example,10.7.7.7');
    const enter = namespace.enter.join(' ');
    await ok(`${enter} sh -c 'tsvm network create far && tsvm network create far2'`);
    await ok(
      `${enter} tsvm run -d --name db --network far --add-host fixed:10.5.5.5 box sleep 1000`,
    );
    await ok(`${enter} tsvm network connect far2 db`);
    await shell.until('tsvm exec db getent ahostsv4 long.example', /10\.4\.0\.1 /);
    assert.deepEqual(await getent('db', 'long.example'), [...long].sort());
    assert.deepEqual(await getent('db', 'link0.example'), [...long].sort(), 'a chain of names');
    assert.deepEqual(await getent('db', 'db'), [await addressOf('db', 'far')], 'not the outside’s');
    assert.deepEqual(await getent('db', 'fixed'), ['10.5.5.5']);
    assert.deepEqual(await getent('db', 'nobody.example'), []);
    // A name server of the user's, which the guest asks itself.
    await ok(
      `${enter} tsvm run -d --name given --network far --dns ${HOST_ADDRESS} box sleep 1000`,
    );
    await shell.until('tsvm exec given getent ahostsv4 own.example', /10\.7\.7\.7 /);
    assert.deepEqual(await getent('given', 'link0.example'), [...long].sort());
    assert.deepEqual(await getent('given', 'db'), [await addressOf('db', 'far')]);
    // An internal network leads nowhere, by names neither.
    await ok(`${enter} tsvm network create --internal inner`);
    await ok(`${enter} tsvm run -d --name closed --network inner box sleep 1000`);
    assert.deepEqual(await getent('closed', 'long.example'), []);
    assert.deepEqual(await getent('closed', 'closed'), [await addressOf('closed', 'inner')]);
    await ok('tsvm rm -f db given closed && tsvm network rm far far2 inner');
  },
);

for (const [where, address] of [
  ['which the host asks', '127.0.0.53'],
  ['which the guest asks', HOST_ADDRESS],
] as const) {
  test(
    `a hostile name server ${where}: wrong answers are dropped, silence delays no container’s name`,
    NEEDS_ROOT,
    async (t) => {
      const namespace = await NetworkNamespace.create(t, { nameServer: address });
      const script = join(shell.folder, 'server.cjs');
      writeFileSync(script, HOSTILE_SERVER);
      const server = namespace.start(t, process.execPath, script, address);
      await once(server.stdout ?? process.stdin, 'data');
      const enter = namespace.enter.join(' ');
      await ok(`${enter} tsvm network create wild`);
      await ok(`${enter} tsvm run -d --name peer --network wild box sleep 1000`);
      await shell.until('tsvm exec peer getent ahostsv4 right.example', /./);
      assert.deepEqual(await getent('peer', 'right.example'), ['1.2.3.4']);
      // Questions without end that get no answer; those about containers go on.
      const asking = 'while :; do nslookup silent.example >/dev/null; done';
      const seen = once(server.stdout ?? process.stdin, 'data');
      await ok(`tsvm exec -d peer sh -c 'for n in $(seq 20); do ${asking} & done; wait'`);
      await seen;
      assert.deepEqual(await lookUp('peer', 'peer'), [await addressOf('peer', 'wild')]);
      // Connections that ask nothing, and noise.
      const silence = 'for n in $(seq 20); do sleep 60 | nc 127.0.0.11 53 & done; wait';
      await ok(`tsvm exec -d peer sh -c '${silence}'`);
      await ok(
        `tsvm exec peer sh -c 'head -c 100000 /dev/urandom | timeout 5 nc 127.0.0.11 53; true'`,
      );
      assert.deepEqual(await getent('peer', 'right.example'), ['1.2.3.4']);
      assert.deepEqual(await getent('peer', 'peer'), [await addressOf('peer', 'wild')]);
      await ok('tsvm rm -f peer && tsvm network rm wild');
    },
  );
}
