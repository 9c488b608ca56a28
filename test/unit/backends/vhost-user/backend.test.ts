/** The vhost-user front end against backends that follow the protocol, and some that do not. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync, writeSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { VhostUserBackend } from '../../../../vmm/backends/vhost-user/backend.ts';
import { VhostUserConnection } from '../../../../vmm/backends/vhost-user/connection.ts';
import { TsvmError } from '../../../../vmm/errors.ts';
import {
  receiveDescriptors,
  sendDescriptors,
  socketPair,
} from '../../../../vmm/host/descriptors.ts';

/** Numbers of the protocol's document, not those of the code under test. */
const GET_FEATURES = 1;
const GET_PROTOCOL_FEATURES = 15;
const GET_QUEUE_NUM = 17;
const FEATURES = (1n << 32n) | (1n << 30n) | (1n << 29n) | (1n << 28n) | 5n;

interface Message {
  readonly request: number;
  readonly payload: Buffer;
  readonly fdCount: number;
}

/** The backend's end of a connection: it answers by this table and keeps what it got. */
class FakeBackend {
  readonly messages: Message[] = [];
  readonly #fd: number;
  readonly #answers: ReadonlyMap<number, bigint | Uint8Array>;
  #open = true;

  constructor(fd: number, answers: ReadonlyMap<number, bigint | Uint8Array>) {
    this.#fd = fd;
    this.#answers = answers;
    void this.#serve();
  }

  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  say(bytes: Uint8Array): void {
    writeSync(this.#fd, bytes);
  }

  async #serve(): Promise<void> {
    let rest = Buffer.alloc(0);
    let fds = 0;
    while (this.#open) {
      const got = receiveDescriptors(this.#fd, 4096, 16);
      if (got === undefined) {
        await sleep(1);
        continue;
      }
      if (got.bytes.length === 0) return;
      for (const fd of got.fds) closeSync(fd);
      fds += got.fds.length;
      rest = Buffer.concat([rest, got.bytes]);
      while (rest.length >= 12 && rest.length >= 12 + rest.readUInt32LE(8)) {
        const end = 12 + rest.readUInt32LE(8);
        assert.equal(rest.readUInt32LE(4), 1, 'the version');
        this.#handle({
          request: rest.readUInt32LE(0),
          payload: rest.subarray(12, end),
          fdCount: fds,
        });
        rest = rest.subarray(end);
        fds = 0;
      }
    }
  }

  #handle(message: Message): void {
    this.messages.push(message);
    const answer = this.#answers.get(message.request);
    if (typeof answer === 'bigint') this.say(reply(message.request, answer));
    else if (answer !== undefined) this.say(answer);
  }
}

function reply(request: number, value: bigint, flags = 5, size = 8): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeUInt32LE(request, 0);
  bytes.writeUInt32LE(flags, 4);
  bytes.writeUInt32LE(size, 8);
  bytes.writeBigUInt64LE(value, 12);
  return bytes;
}

const GOOD: readonly (readonly [number, bigint])[] = [
  [GET_FEATURES, FEATURES],
  [GET_PROTOCOL_FEATURES, 0xffn],
  [GET_QUEUE_NUM, 2n],
];

function failed(pattern: RegExp) {
  return (error: unknown) =>
    error instanceof TsvmError && error.code === 'backend-failed' && pattern.test(error.message);
}

interface Opening {
  readonly opened: Promise<VhostUserBackend>;
  readonly backends: FakeBackend[];
  readonly failures: string[];
  readonly kills: () => number;
}

function open(t: TestContext, ...changes: (readonly [number, bigint | Uint8Array])[]): Opening {
  const backends: FakeBackend[] = [];
  const failures: string[] = [];
  let kills = 0;
  const fd = openSync('/dev/null', 'r');
  t.after(() => {
    closeSync(fd);
    for (const backend of backends) backend.close();
  });
  const ring = {
    descriptorAddress: 1,
    availableAddress: 2,
    usedAddress: 3,
    kickFd: fd,
    callFd: fd,
  };
  const opened = VhostUserBackend.open({
    launch: () => {
      const [own, other] = socketPair();
      const backend = new FakeBackend(other, new Map([...GOOD, ...changes]));
      backends.push(backend);
      const kill = async () => {
        kills += 1;
        backend.close();
      };
      return { fd: own, kill };
    },
    queueSize: 64,
    memory: [
      { address: 0, sizeBytes: 4096, fd },
      { address: 2 ** 46, sizeBytes: 8192, fd },
    ],
    rings: [ring, ring],
    resetRings: () => {},
    onFailed: (reason) => failures.push(reason),
  });
  return { opened, backends, failures, kills: () => kills };
}

async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done(); tries += 1) {
    assert.ok(tries < 5000);
    await sleep(1);
  }
}

test('a device is started with its memory, rings and eventfds', async (t) => {
  const { opened, backends } = open(t);
  const backend = await opened;
  assert.equal(backend.features, 5n);
  backend.start((1n << 32n) | (1n << 29n) | 4n);
  const [fake] = backends;
  const ring = [8, 10, 9, 13, 12, 18];
  const expected = [1, 15, 16, 17, 3, 2, 5, ...ring, ...ring];
  await until(() => fake?.messages.length === expected.length);
  const messages = fake?.messages ?? [];
  assert.deepEqual(
    messages.map(({ request }) => request),
    expected,
  );
  // Of memory regions, kicks and calls; a stream may deliver them with the bytes before.
  assert.equal(
    messages.reduce((sum, { fdCount }) => sum + fdCount, 0),
    2 + 4,
  );
  // The device type's, VERSION_1, INDIRECT_DESC and PROTOCOL_FEATURES; not the driver's EVENT_IDX.
  const features = messages.find(({ request }) => request === 2)?.payload.readBigUInt64LE();
  assert.equal(features, (1n << 32n) | (1n << 30n) | (1n << 28n) | 4n);
});

for (const [what, change, message] of [
  ['a wrong request number', reply(GET_FEATURES + 1, FEATURES), /malformed/],
  ['no reply flag', reply(GET_FEATURES, FEATURES, 1), /malformed/],
  ['another version', reply(GET_FEATURES, FEATURES, 6), /malformed/],
  ['another size', reply(GET_FEATURES, FEATURES, 5, 2 ** 31), /malformed/],
  ['more than an answer', Buffer.alloc(4096), /not asked for/],
  ['too few features', reply(GET_FEATURES, 1n << 32n), /lacks features 0x10000000/],
] as const) {
  test(`an answer with ${what} is refused, and the process ended`, async (t) => {
    const { opened, failures, kills } = open(t, [GET_FEATURES, change]);
    await assert.rejects(opened, failed(message));
    assert.equal(kills(), 1);
    assert.deepEqual(failures, []);
  });
}

test('a backend with too few queues is refused', async (t) => {
  await assert.rejects(open(t, [GET_QUEUE_NUM, 1n]).opened, failed(/1 queues instead of 2/));
});

test('a backend that ends, or talks unasked, fails its device once it is ended', async (t) => {
  for (const act of [
    (fake: FakeBackend) => fake.close(),
    (fake: FakeBackend) => fake.say(Buffer.from('x')),
  ]) {
    const { opened, backends, failures, kills } = open(t);
    const backend = await opened;
    backend.start(0n);
    act(backends[0] as FakeBackend);
    await until(() => failures.length > 0);
    assert.equal(kills(), 1);
    // Another driver gets another process.
    await backend.stop();
    backend.start(0n);
    assert.equal(backends.length, 2);
    await backend.stop();
  }
});

test('a backend that does not answer, in time', async () => {
  const [own, other] = socketPair();
  const reasons: string[] = [];
  const connection = new VhostUserConnection(own, (reason) => reasons.push(reason), 20);
  await assert.rejects(connection.ask(GET_FEATURES), failed(/does not answer/));
  assert.deepEqual(reasons, ['it does not answer']);
  assert.throws(() => connection.send({ request: 1, payload: new Uint8Array(), fds: [] }));
  closeSync(other);
});

test('descriptors that a backend sends unasked are not kept', async () => {
  const open = () => readdirSync('/proc/self/fd').length;
  const [own, other] = socketPair();
  const reasons: string[] = [];
  new VhostUserConnection(own, (reason) => reasons.push(reason));
  const before = open();
  sendDescriptors(other, { bytes: Buffer.from('x'), fds: [0, 0, 0, 0, 0, 0, 0, 0] });
  await until(() => reasons.length > 0);
  await until(() => open() < before);
  closeSync(other);
});
