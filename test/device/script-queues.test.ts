/** Queues that TypeScript serves: chains there and back, and what a hostile driver may do to them. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { scriptQueues } from '../../vmm/kvm/queue-workers.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { INT_VRING, REG, S_NEEDS_RESET } from '../support/mmio-driver.ts';
import {
  ECHO_QUEUE,
  HELD_QUEUE,
  MESSAGE_QUEUE,
  READABLE_BYTES_MAX,
  ScriptDevice,
} from '../support/script-device.ts';

interface Setup {
  readonly driver: FakeDriver;
  readonly device: ScriptDevice;
}

function open(context: TestContext): Setup {
  let device: ScriptDevice | undefined;
  const driver = new FakeDriver(3, (host) => {
    device = new ScriptDevice(scriptQueues(host));
    return device;
  });
  assert.ok(device);
  context.after(() => driver.close());
  return { driver, device };
}

/** Makes a chain available: bytes to read, then room to write. */
function offer(driver: FakeDriver, queue: number, text: string, room: number) {
  const readable = Buffer.from(text);
  const from = driver.allocate(readable.length || 1);
  driver.memory.slice(from, readable.length).set(readable);
  const to = driver.allocate(room || 1);
  const buffers = [
    ...(readable.length > 0 ? [{ gpa: from, length: readable.length }] : []),
    ...(room > 0 ? [{ gpa: to, length: room, writable: true }] : []),
  ];
  const head = driver.ring(queue).addChain(buffers);
  return { head, from, to, text: (length: number) => content(driver, to, length) };
}

function content(driver: FakeDriver, gpa: number, length: number): string {
  return Buffer.from(driver.memory.slice(gpa, length)).toString('latin1');
}

function untilHeld({ driver, device }: Setup, count: number): Promise<void> {
  return driver.until(`${count} held chains`, () => device.held.length === count);
}

test('chains are passed to TypeScript with a copy of their data, and return with its answer', async (context) => {
  const { driver } = open(context);
  await driver.start({ queueSize: 8 });
  const chain = offer(driver, ECHO_QUEUE, 'HAL', 16);
  driver.kick(ECHO_QUEUE);
  assert.deepEqual(await driver.nextUsed(ECHO_QUEUE), { id: chain.head, length: 3 });
  assert.equal(chain.text(4), 'IBM\u00cc');
  assert.equal(await driver.interrupted(), INT_VRING);
});

test('many chains make few wake-ups and interrupts, and keep their order', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 256 });
  const chains = Array.from({ length: 100 }, (_, n) => offer(driver, ECHO_QUEUE, `${n}`, 4));
  driver.kick(ECHO_QUEUE);
  for (const { head } of chains) assert.equal((await driver.nextUsed(ECHO_QUEUE)).id, head);
  const { interrupts = 0, scriptChains } = device.statistics();
  assert.equal(scriptChains, 100);
  assert.ok(interrupts < 50, `${interrupts} interrupts`);
});

test('chains are answered in any order, and their buffers are available', async (context) => {
  const setup = open(context);
  const { driver, device } = setup;
  await driver.start({ queueSize: 8 });
  const chains = ['a', 'b', 'c'].map((text) => offer(driver, HELD_QUEUE, text, 4));
  driver.kick(HELD_QUEUE);
  await untilHeld(setup, 3);
  assert.deepEqual(device.heldBuffers(1), [
    { gpa: chains[1]?.from, lengthBytes: 1, writable: false },
    { gpa: chains[1]?.to, lengthBytes: 4, writable: true },
  ]);
  device.release(1, Buffer.from('two'));
  assert.deepEqual(await driver.nextUsed(HELD_QUEUE), { id: chains[1]?.head, length: 3 });
  device.release(0);
  assert.deepEqual(await driver.nextUsed(HELD_QUEUE), { id: chains[0]?.head, length: 0 });
  assert.equal(chains[1]?.text(3), 'two');
  assert.equal(chains[0]?.text(1), '\u00cc');
});

test('an answer that is too long, or for a chain that is not there, is refused', async (context) => {
  const setup = open(context);
  const { driver, device } = setup;
  await driver.start({ queueSize: 8 });
  offer(driver, HELD_QUEUE, 'a', 4);
  driver.kick(HELD_QUEUE);
  await untilHeld(setup, 1);
  const [chain] = device.held;
  assert.ok(chain);
  assert.throws(() => device.release(0, Buffer.alloc(5)), { code: 'EINVAL' });
  device.held.push(chain);
  device.release(0, Buffer.alloc(4));
  assert.equal((await driver.nextUsed(HELD_QUEUE)).length, 4);
  device.held.push(chain);
  assert.throws(() => device.release(0), { code: 'EINVAL' });
});

test('buffers for messages stay in the queue until there is one', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 8 });
  const chains = [0, 1, 2].map(() => offer(driver, MESSAGE_QUEUE, '', 8));
  driver.kick(MESSAGE_QUEUE);
  // The worker has looked at all queues once the echo comes back.
  offer(driver, ECHO_QUEUE, 'a', 1);
  driver.kick(ECHO_QUEUE);
  await driver.nextUsed(ECHO_QUEUE);
  assert.equal(driver.ring(MESSAGE_QUEUE).usedIdx, 0);
  assert.equal(device.statistics()['scriptChains'], 1);
  device.send(Buffer.from('first'));
  device.send(Buffer.from('second'));
  assert.deepEqual(await driver.nextUsed(MESSAGE_QUEUE), { id: chains[0]?.head, length: 5 });
  assert.deepEqual(await driver.nextUsed(MESSAGE_QUEUE), { id: chains[1]?.head, length: 6 });
  assert.equal(chains[1]?.text(6), 'second');
  assert.equal(driver.ring(MESSAGE_QUEUE).usedIdx, 2);
});

test('a message waits for a buffer', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 8 });
  device.send(Buffer.from('early'));
  const { head } = offer(driver, MESSAGE_QUEUE, '', 8);
  driver.kick(MESSAGE_QUEUE);
  assert.deepEqual(await driver.nextUsed(MESSAGE_QUEUE), { id: head, length: 5 });
});

test('chains that are given back come again after a pause, and the driver sees nothing', async (context) => {
  const setup = open(context);
  const { driver, device } = setup;
  await driver.start({ queueSize: 8 });
  const chains = ['a', 'b', 'c'].map((text) => offer(driver, HELD_QUEUE, text, 4));
  driver.kick(HELD_QUEUE);
  await untilHeld(setup, 3);
  device.release(0);
  await driver.nextUsed(HELD_QUEUE);
  await driver.transport.quiesce();
  assert.equal(driver.ring(HELD_QUEUE).usedIdx, 1);
  assert.deepEqual(device.held, []);
  driver.transport.resume();
  await untilHeld(setup, 2);
  assert.deepEqual(
    device.held.map(({ readable }) => Buffer.from(readable).toString()),
    ['b', 'c'],
  );
  device.release(0);
  assert.equal((await driver.nextUsed(HELD_QUEUE)).id, chains[1]?.head);
});

test('a chain that is given back after a newer one was finished goes back empty', async (context) => {
  const setup = open(context);
  const { driver, device } = setup;
  await driver.start({ queueSize: 8 });
  const chains = ['a', 'b', 'c'].map((text) => offer(driver, HELD_QUEUE, text, 4));
  driver.kick(HELD_QUEUE);
  await untilHeld(setup, 3);
  // The oldest is given back first, and overtaken afterwards.
  device.unuse(0);
  device.release(0, Buffer.from('x'));
  const used = [await driver.nextUsed(HELD_QUEUE), await driver.nextUsed(HELD_QUEUE)];
  assert.deepEqual(used, [
    { id: chains[1]?.head, length: 1 },
    { id: chains[0]?.head, length: 0 },
  ]);
  // Given back as the newest: it comes again at once, for its queue has no limit.
  device.unuse(0);
  await untilHeld(setup, 1);
  assert.equal(device.held[0]?.readable[0], 'c'.charCodeAt(0));
});

test('a reset with chains in TypeScript waits for them, and the next driver finds all queues', async (context) => {
  const setup = open(context);
  const { driver } = setup;
  await driver.start({ queueSize: 8 });
  offer(driver, HELD_QUEUE, 'a', 4);
  driver.kick(HELD_QUEUE);
  await untilHeld(setup, 1);
  await driver.start({ queueSize: 8 });
  assert.deepEqual(setup.device.held, []);
  const chain = offer(driver, ECHO_QUEUE, 'a', 1);
  driver.kick(ECHO_QUEUE);
  assert.equal((await driver.nextUsed(ECHO_QUEUE)).id, chain.head);
  assert.equal(chain.text(1), 'b');
});

test('hostile: readable parts beyond the limit are truncated, and their full length is given', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 8 });
  const length = READABLE_BYTES_MAX + 1000;
  const chain = offer(driver, ECHO_QUEUE, 'a'.repeat(length), 2 * length);
  driver.kick(ECHO_QUEUE);
  assert.deepEqual(await driver.nextUsed(ECHO_QUEUE), {
    id: chain.head,
    length: READABLE_BYTES_MAX,
  });
  assert.equal(device.cut, 1);
  assert.equal(chain.text(1), 'b');
});

test('hostile: chains with nothing to read, nothing to write, and neither', async (context) => {
  const { driver } = open(context);
  await driver.start({ queueSize: 8 });
  for (const [text, room] of [
    ['', 4],
    ['abc', 0],
    ['', 0],
  ] as const) {
    const gpa = driver.allocate(1);
    const { head } =
      text === '' && room === 0
        ? { head: driver.ring(ECHO_QUEUE).addChain([{ gpa, length: 0 }]) }
        : offer(driver, ECHO_QUEUE, text, room);
    driver.kick(ECHO_QUEUE);
    assert.deepEqual(await driver.nextUsed(ECHO_QUEUE), { id: head, length: 0 });
  }
});

test('hostile: a buffer that is read and written at once, many times over', async (context) => {
  const { driver } = open(context);
  await driver.start({ queueSize: 8 });
  const gpa = driver.allocate(64);
  driver.memory.slice(gpa, 64).fill(7);
  const parts = Array.from({ length: 7 }, () => ({ gpa, length: 64 }));
  const head = driver.ring(ECHO_QUEUE).addChain([...parts, { gpa, length: 64, writable: true }]);
  driver.kick(ECHO_QUEUE);
  assert.deepEqual(await driver.nextUsed(ECHO_QUEUE), { id: head, length: 64 });
  assert.ok(driver.memory.slice(gpa, 64).every((byte) => byte === 8));
});

test('hostile: a queue that breaks while TypeScript has its chains', async (context) => {
  const setup = open(context);
  const { driver, device } = setup;
  await driver.start({ queueSize: 8 });
  const { to } = offer(driver, HELD_QUEUE, 'a', 4);
  driver.kick(HELD_QUEUE);
  await untilHeld(setup, 1);
  driver.ring(HELD_QUEUE).offerHead(8);
  driver.kick(HELD_QUEUE);
  device.release(0, Buffer.from('late'));
  await driver.until('DEVICE_NEEDS_RESET', () => {
    return (driver.registers.read(REG.STATUS) & S_NEEDS_RESET) !== 0;
  });
  assert.ok(driver.ring(HELD_QUEUE).usedIdx <= 1);
  assert.ok(['late', '\u00cc'.repeat(4)].includes(content(driver, to, 4)));
  await driver.start({ queueSize: 8 });
  const { head } = offer(driver, ECHO_QUEUE, 'a', 1);
  driver.kick(ECHO_QUEUE);
  assert.equal((await driver.nextUsed(ECHO_QUEUE)).id, head);
});

test('hostile: as many chains as the queue is long, again and again, with messages between', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 16 });
  for (let round = 0; round < 200; round += 1) {
    for (let n = 0; n < 16; n += 1) driver.ring(MESSAGE_QUEUE).offerHead(n);
    driver.ring(MESSAGE_QUEUE).setAvailableIdx(driver.ring(MESSAGE_QUEUE).availableIdx - 16);
    const chains = Array.from({ length: 8 }, () => offer(driver, ECHO_QUEUE, 'a', 1));
    driver.kick(ECHO_QUEUE);
    driver.kick(MESSAGE_QUEUE);
    for (const { head } of chains) assert.equal((await driver.nextUsed(ECHO_QUEUE)).id, head);
  }
  assert.equal(device.statistics()['scriptChains'], 1600);
});

testHostileRings('script queues', [ECHO_QUEUE, MESSAGE_QUEUE], (context) => {
  const { driver, device } = open(context);
  const works = async () => {
    const chain = offer(driver, ECHO_QUEUE, 'HAL', 4);
    driver.kick(ECHO_QUEUE);
    assert.equal((await driver.nextUsed(ECHO_QUEUE)).id, chain.head);
    assert.equal(chain.text(3), 'IBM');
  };
  return { driver, provoke: () => device.send(Buffer.from('a message')), works };
});
