/** Answers about names of containers, as c-ares (Node's resolver) reads them, and hostile questions. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Duplex, type DuplexOptions } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { VsockPorts } from '../../../../vmm/backends/vsock/vsock-ports.ts';
import { NameServer } from '../../../../vmm/container/networks/name-server.ts';
import type { NetworkNames } from '../../../../vmm/container/networks/network-names.ts';

const ALIASED = Array.from({ length: 300 }, (_, index) => `10.9.${index >> 8}.${index & 255}`);

function network(names: Readonly<Record<string, readonly string[]>>): NetworkNames {
  return {
    addressesOf: (name) => [...(names[name] ?? [])],
    nameOf: (address) => Object.entries(names).find(([, own]) => own.includes(address))?.[0],
  };
}

const SERVER = new NameServer(() => [
  network({ db: ['10.1.0.2'], 'data.store': ['10.1.0.2'], both: ['10.1.0.3'] }),
  network({ web: ['10.2.0.2'], both: ['10.2.0.3'], many: ALIASED }),
]);

type OnConnection = Parameters<VsockPorts['listen']>[1];

/** What the server does at its two ports. */
function listen(server: NameServer): Map<number, OnConnection> {
  const ports = new Map<number, OnConnection>();
  const vsock = {
    listen: (port: number, onConnection: OnConnection) => {
      ports.set(port, onConnection);
      return () => ports.delete(port);
    },
  };
  server.listen(vsock as unknown as VsockPorts);
  return ports;
}

/** The server as one of UDP and TCP, of which c-ares knows the port. */
async function resolver(t: TestContext): Promise<Resolver> {
  const streams = createServer((socket) => {
    socket.on('error', () => {});
    listen(SERVER).get(1025)?.(socket, { guestPort: 0 });
  });
  await new Promise<void>((resolve) => streams.listen(0, '127.0.0.1', resolve));
  const { port } = streams.address() as AddressInfo;
  const datagrams = createSocket('udp4', (message, { port: from }) => {
    const answer = SERVER.answer(message, true);
    if (answer !== undefined) datagrams.send(answer, from, '127.0.0.1');
  });
  datagrams.bind(port, '127.0.0.1');
  await once(datagrams, 'listening');
  t.after(() => {
    SERVER.close();
    datagrams.close();
    streams.close();
  });
  const client = new Resolver({ timeout: 30_000, tries: 1 });
  client.setServers([`127.0.0.1:${port}`]);
  return client;
}

test('addresses and names of containers on several networks, the first of which counts', async (t) => {
  const client = await resolver(t);
  assert.deepEqual(await client.resolve4('db'), ['10.1.0.2']);
  assert.deepEqual(await client.resolve4('DATA.Store'), ['10.1.0.2']);
  assert.deepEqual(await client.resolve4('web'), ['10.2.0.2']);
  assert.deepEqual(await client.resolve4('both'), ['10.1.0.3']);
  assert.deepEqual(await client.reverse('10.2.0.2'), ['web']);
  await assert.rejects(client.resolve6('web'), { code: 'ENODATA' });
  await assert.rejects(client.resolveTxt('web'), { code: 'ENODATA' });
  for (const name of ['webb', 'web.example', 'example.com']) {
    await assert.rejects(client.resolve4(name), { code: 'EREFUSED' }, name);
  }
});

test('an answer over 512 bytes is truncated over UDP, and complete over TCP', async (t) => {
  const client = await resolver(t);
  assert.deepEqual((await client.resolve4('many')).sort(), [...ALIASED].sort());
  const truncated = SERVER.answer(query('many'), true);
  assert.ok(truncated !== undefined && truncated.length <= 512);
  assert.equal((truncated[2] ?? 0) & 2, 2, 'TC');
  // With EDNS, as much as the client takes, and not more than 4 KiB.
  const client3k = SERVER.answer(query('many', 3_000), true);
  assert.equal((client3k?.[2] ?? 0) & 2, 2);
  assert.ok((SERVER.answer(query('many', 65_535), true)?.length ?? 0) <= 4_096);
  assert.ok((SERVER.answer(query('many'), false)?.length ?? 0) > 16 * ALIASED.length);
});

/** @param datagramBytes what the client takes, by EDNS */
function query(name: string, datagramBytes?: number): Buffer {
  const options = Buffer.from('0000290000000000000000', 'hex');
  options.writeUInt16BE(datagramBytes ?? 0, 3);
  return Buffer.concat([
    Buffer.from(`1234010000010000000000${datagramBytes === undefined ? '00' : '01'}`, 'hex'),
    ...name.split('.').flatMap((label) => [Buffer.of(label.length), Buffer.from(label)]),
    Buffer.from('0000010001', 'hex'),
    ...(datagramBytes === undefined ? [] : [options]),
  ]);
}

/** Code of the answer; undefined: none. */
function codeOf(message: Buffer): number | undefined {
  const answer = SERVER.answer(message, true);
  return answer === undefined ? undefined : (answer[3] ?? 0) & 15;
}

test('hostile questions: truncated, pointers, loops, several at once, other operations, noise', () => {
  const good = query('db');
  assert.equal(codeOf(good), 0);
  for (let length = 0; length < good.length; length++) {
    assert.equal(codeOf(good.subarray(0, length)), length < 12 ? undefined : 1, `${length} bytes`);
  }
  const changed = (at: number, ...bytes: number[]) => {
    const copy = Buffer.from(good);
    copy.set(bytes, at);
    return codeOf(copy);
  };
  assert.equal(changed(2, 0x81), undefined, 'an answer');
  assert.equal(changed(2, 0x09), 4, 'another operation');
  assert.equal(changed(4, 0, 2), 1, 'two questions');
  assert.equal(changed(4, 0xff, 0xff), 1);
  assert.equal(changed(12, 0xc0, 12), 1, 'a name that is itself');
  assert.equal(changed(12, 0x40), 1, 'a label of an unknown kind');
  assert.equal(changed(12, 63), 1, 'a label that is longer than the message');
  assert.equal(changed(good.length - 1, 3), 5, 'another class');
  assert.equal(changed(13, 0x2e), 5, 'a dot in a label');
  assert.equal(changed(10, 0xff, 0xff), 0, 'records that are not there');
  const long = Buffer.concat([
    good.subarray(0, 12),
    ...Array.from({ length: 200 }, () => Buffer.from('\x01a', 'latin1')),
    good.subarray(-5),
  ]);
  assert.equal(codeOf(long), 1, 'a name of more than 255 bytes');
  for (let round = 0; round < 20_000; round++) {
    const noise = randomBytes(round % 80);
    if (round % 2 === 0 && noise.length > 12) good.copy(noise, 0, 0, 12);
    const answer = SERVER.answer(noise, round % 3 === 0);
    assert.ok(answer === undefined || answer.length <= 512);
  }
});

/** A connection of a guest: what the server reads and writes. */
class Guest extends Duplex {
  readonly written: Buffer[] = [];
  waiting: (() => void) | undefined;

  constructor(options: DuplexOptions & { readonly stalls?: boolean } = {}) {
    super({ ...options, writableHighWaterMark: 1_000 });
    if (options.stalls !== true) this.waiting = () => {};
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: unknown, done: () => void): void {
    this.written.push(chunk);
    if (this.waiting !== undefined) done();
  }

  ask(message: Buffer): void {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(message.length);
    this.push(Buffer.concat([length, message]));
  }
}

const turns = async () => {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
};

test('hostile connections: questions too long, floods that nobody reads the answers of, too many', async () => {
  const server = new NameServer(() => [network({ many: ALIASED })]);
  const accept = listen(server).get(1025);
  const long = new Guest();
  accept?.(long, { guestPort: 0 });
  const closed = new Promise((resolve) => long.once('close', resolve));
  long.push(Buffer.of(0xff, 0xff));
  await closed;
  const flood = new Guest({ stalls: true });
  accept?.(flood, { guestPort: 0 });
  for (let count = 0; count < 1_000; count++) flood.ask(query('many'));
  await turns();
  assert.equal(flood.written.length, 1, 'no more than the guest takes');
  assert.ok(flood.writableLength < 20_000);
  const slow = new Guest();
  accept?.(slow, { guestPort: 0 });
  for (const byte of Buffer.concat([Buffer.of(0, query('many').length), query('many')])) {
    slow.push(Buffer.of(byte));
  }
  await turns();
  assert.equal(slow.written.length, 1, 'a question in pieces');
  const others = Array.from({ length: 100 }, () => new Guest());
  for (const guest of others) accept?.(guest, { guestPort: 0 });
  assert.equal(others.filter(({ destroyed }) => destroyed).length, 100 - (64 - 2));
  server.close();
  assert.ok(others.every(({ destroyed }) => destroyed));
});
