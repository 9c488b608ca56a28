import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  ConsoleDevice,
  consoleQueueCount,
  VIRTIO_CONSOLE_F_SIZE,
} from '../../vmm/devices/virtio/console/console-device.ts';
import type { PortHost } from '../../vmm/devices/virtio/console/console-port.ts';
import { VIRTIO_F_VERSION_1 } from '../../vmm/devices/virtio/features.ts';
import { scriptQueues } from '../../vmm/kvm/queue-workers.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { hostileControls } from '../support/hostile-requests.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { INT_CONFIG, REG } from '../support/mmio-driver.ts';

const RECEIVE = 0;
const TRANSMIT = 1;
const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;
const PORT_RECEIVE = 4;
const PORT_TRANSMIT = 5;

/** Events of control messages. */
const [DEVICE_READY, DEVICE_ADD, , PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME] = [
  0, 1, 2, 3, 4, 5, 6, 7,
];

class FakeHost implements PortHost {
  text = '';
  hasRoom = true;
  resumed = 0;
  drained = Promise.withResolvers<void>();

  write(bytes: Uint8Array): boolean {
    this.text += Buffer.from(bytes).toString('latin1');
    return this.hasRoom;
  }

  onceDrained(): Promise<void> {
    return this.drained.promise;
  }

  resumeInput(): void {
    this.resumed += 1;
  }
}

/** A device with a console and a port named "agent". */
function open(context: TestContext) {
  const console = new FakeHost();
  const agent = new FakeHost();
  let device: ConsoleDevice | undefined;
  const driver = new FakeDriver(consoleQueueCount(1), (host) => {
    device = new ConsoleDevice({
      id: 'console',
      createQueues: scriptQueues(host),
      console,
      ports: [{ name: 'agent', host: agent }],
    });
    return device;
  });
  assert.ok(device);
  context.after(() => driver.close());
  return { driver, device, console, agent };
}

/** Sends bytes to a queue and waits until the device has taken them. */
async function send(driver: FakeDriver, queue: number, bytes: Uint8Array): Promise<void> {
  const gpa = driver.allocate(bytes.byteLength || 1);
  driver.memory.write(gpa, bytes);
  const head = driver.ring(queue).addChain([{ gpa, length: bytes.byteLength }]);
  driver.kick(queue);
  assert.deepEqual(await driver.nextUsed(queue), { id: head, length: 0 });
}

function offer(driver: FakeDriver, queue: number, length: number): number {
  const gpa = driver.allocate(length);
  driver.ring(queue).addChain([{ gpa, length, writable: true }]);
  driver.kick(queue);
  return gpa;
}

/** Offers a buffer and waits for what the device puts into it. */
async function receive(driver: FakeDriver, queue: number, length = 256): Promise<Buffer> {
  const gpa = offer(driver, queue, length);
  const used = await driver.nextUsed(queue);
  return Buffer.from(driver.memory.slice(gpa, used.length));
}

function control(port: number, event: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(port, 0);
  bytes.writeUInt16LE(event, 4);
  bytes.writeUInt16LE(value, 6);
  return bytes;
}

/** The next control message: port, event, value, and what follows it. */
async function nextControl(driver: FakeDriver): Promise<[number, number, number, string]> {
  const bytes = await receive(driver, CONTROL_RECEIVE);
  return [
    bytes.readUInt32LE(0),
    bytes.readUInt16LE(4),
    bytes.readUInt16LE(6),
    bytes.toString('latin1', 8),
  ];
}

/** Starts the device as Linux does, with both ports open. */
async function start(driver: FakeDriver): Promise<void> {
  await driver.start({ queueSize: 64 });
  await send(driver, CONTROL_TRANSMIT, control(0, DEVICE_READY, 1));
  assert.deepEqual(await nextControl(driver), [0, DEVICE_ADD, 1, '']);
  assert.deepEqual(await nextControl(driver), [1, DEVICE_ADD, 1, '']);
  await send(driver, CONTROL_TRANSMIT, control(0, PORT_READY, 1));
  assert.deepEqual(await nextControl(driver), [0, CONSOLE_PORT, 1, '']);
  assert.deepEqual(await nextControl(driver), [0, PORT_OPEN, 1, '']);
  await send(driver, CONTROL_TRANSMIT, control(1, PORT_READY, 1));
  assert.deepEqual(await nextControl(driver), [1, PORT_NAME, 1, 'agent']);
  await send(driver, CONTROL_TRANSMIT, control(0, PORT_OPEN, 1));
  await send(driver, CONTROL_TRANSMIT, control(1, PORT_OPEN, 1));
}

test('output goes to the host of its port, input to the guest, each in order', async (context) => {
  const { driver, device, console, agent } = open(context);
  await start(driver);
  device.setHostOpen(1, true);
  assert.deepEqual(await nextControl(driver), [1, PORT_OPEN, 1, '']);
  await send(driver, TRANSMIT, Buffer.from('to the '));
  await send(driver, PORT_TRANSMIT, Buffer.from('to the agent'));
  await send(driver, TRANSMIT, Buffer.from('terminal'));
  assert.equal(console.text, 'to the terminal');
  assert.equal(agent.text, 'to the agent');

  assert.equal(device.receive(0, Buffer.from('typed ')), true);
  device.receive(0, Buffer.from('by hand'));
  assert.equal((await receive(driver, RECEIVE, 8)).toString(), 'typed by');
  assert.equal((await receive(driver, RECEIVE, 8)).toString(), ' hand');
  device.receive(1, Buffer.from('hello'));
  assert.equal((await receive(driver, PORT_RECEIVE)).toString(), 'hello');
});

test('buffers wait in the queue until there is input, and input waits until the port is open', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 64 });
  await send(driver, CONTROL_TRANSMIT, control(0, PORT_READY, 1));
  const gpa = offer(driver, RECEIVE, 16);
  device.receive(0, Buffer.from('early'));
  await driver.untilRest(() => driver.kick(RECEIVE));
  assert.equal(driver.ring(RECEIVE).takeUsed(), undefined);
  await send(driver, CONTROL_TRANSMIT, control(0, PORT_OPEN, 1));
  assert.equal((await driver.nextUsed(RECEIVE)).length, 5);
  assert.equal(Buffer.from(driver.memory.slice(gpa, 5)).toString(), 'early');
});

test('a flood of input arrives whole and in order, and no buffer comes back empty', async (context) => {
  const { driver, device, console } = open(context);
  await start(driver);
  const total = 400_000;
  let sent = 0;
  const byteAt = (position: number) => (position * 31 + (position >> 8)) & 0xff;
  const feed = () => {
    for (let hasRoom = true; hasRoom && sent < total; ) {
      const chunk = Uint8Array.from({ length: Math.min(1 + (sent % 5000), total - sent) }, (_, i) =>
        byteAt(sent + i),
      );
      sent += chunk.length;
      hasRoom = device.receive(0, chunk);
      paused = !hasRoom;
    }
  };
  // A host may send more at once, or pause after it was asked to.
  let paused = false;
  console.resumeInput = () => {
    paused = false;
    if (sent % 2 === 0) feed();
    else setImmediate(() => !paused && feed());
  };
  const buffers = Array.from({ length: 32 }, () => ({ gpa: driver.allocate(1000), head: -1 }));
  const offerAgain = (buffer: { gpa: number; head: number }) => {
    buffer.head = driver
      .ring(RECEIVE)
      .addChain([{ gpa: buffer.gpa, length: 1000, writable: true }]);
  };
  for (const buffer of buffers) offerAgain(buffer);
  driver.kick(RECEIVE);
  feed();
  for (let received = 0; received < total; ) {
    const used = await driver.nextUsed(RECEIVE);
    const buffer = buffers.find(({ head }) => head === used.id);
    assert.ok(buffer && used.length > 0, `${used.length} bytes after ${received}`);
    const bytes = driver.memory.slice(buffer.gpa, used.length);
    const wrong = bytes.findIndex((byte, i) => byte !== byteAt(received + i));
    assert.equal(wrong, -1, `after ${received}`);
    received += used.length;
    offerAgain(buffer);
    driver.kick(RECEIVE);
  }
});

test('a host that is full holds the guest back; a guest that does not read holds the host back', async (context) => {
  const { driver, device, console } = open(context);
  await start(driver);
  console.hasRoom = false;
  await send(driver, TRANSMIT, Buffer.from('first'));
  const gpa = driver.allocate(6);
  driver.memory.write(gpa, Buffer.from('second'));
  await driver.untilRest(() => {
    driver.ring(TRANSMIT).addChain([{ gpa, length: 6 }]);
    driver.kick(TRANSMIT);
  });
  assert.equal(console.text, 'first');
  console.hasRoom = true;
  console.drained.resolve();
  await driver.nextUsed(TRANSMIT);
  assert.equal(console.text, 'firstsecond');

  const chunk = new Uint8Array(16 * 1024).fill(0x61);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => device.receive(0, chunk)),
    [true, true, true, false],
  );
  assert.equal(console.resumed, 0);
  assert.equal((await receive(driver, RECEIVE, 4096)).byteLength, 4096);
  assert.equal(console.resumed, 1);
});

test('output of a port that nobody has open is dropped; so is input that was left when the host closed it', async (context) => {
  const { driver, device, agent } = open(context);
  await start(driver);
  await send(driver, PORT_TRANSMIT, Buffer.from('nobody'));
  assert.equal(agent.text, '');
  assert.equal(device.statistics()['droppedBytes'], 6);
  device.setHostOpen(1, true);
  assert.deepEqual(await nextControl(driver), [1, PORT_OPEN, 1, '']);
  device.receive(1, Buffer.from('left'));
  device.setHostOpen(1, false);
  assert.deepEqual(await nextControl(driver), [1, PORT_OPEN, 0, '']);
  device.setHostOpen(1, true);
  device.receive(1, Buffer.from('new'));
  assert.equal((await receive(driver, PORT_RECEIVE)).toString(), 'new');
});

test('the window size is told by a message, and without ports in the configuration space', async (context) => {
  const { driver, device } = open(context);
  device.resize(80, 24);
  await driver.start({ queueSize: 64 });
  await send(driver, CONTROL_TRANSMIT, control(0, PORT_READY, 1));
  assert.deepEqual(await nextControl(driver), [0, CONSOLE_PORT, 1, '']);
  assert.deepEqual(await nextControl(driver), [0, RESIZE, 0, 'P\0\x18\0']);
  assert.deepEqual(await nextControl(driver), [0, PORT_OPEN, 1, '']);
  device.resize(300, 100);
  assert.deepEqual(await nextControl(driver), [0, RESIZE, 0, '\x2c\x01d\0']);

  const simple = open(context);
  await simple.driver.start({
    features: VIRTIO_F_VERSION_1 | VIRTIO_CONSOLE_F_SIZE,
    queueSize: 64,
    queueCount: 2,
  });
  simple.device.resize(80, 24);
  assert.equal(await simple.driver.interrupted(), INT_CONFIG);
  assert.equal(simple.driver.registers.read(REG.CONFIG), (24 << 16) | 80);
  simple.device.receive(0, Buffer.from('x'));
  assert.equal((await receive(simple.driver, RECEIVE)).toString(), 'x');
});

test('control messages that are short, unknown or for no port are ignored and counted', async (context) => {
  const { driver, device } = open(context);
  await start(driver);
  for (const [index, { name, message }] of hostileControls().entries()) {
    await send(driver, CONTROL_TRANSMIT, message);
    assert.equal(device.statistics()['ignoredControls'], index + 1, name);
  }
});

test('a driver that asks again and again and takes no answer costs a bounded number of messages', async (context) => {
  const { driver, device } = open(context);
  await driver.start({ queueSize: 64 });
  for (let i = 0; i < 100; i += 1) {
    await send(driver, CONTROL_TRANSMIT, control(0, PORT_READY, 1));
  }
  assert.ok((device.statistics()['lostControls'] ?? 0) > 100);
});

test('writes that are too long are cut; receive buffers without room, or not writable, come back empty', async (context) => {
  const { driver, device, console } = open(context);
  await start(driver);
  await send(driver, TRANSMIT, Buffer.alloc(100_000, 'a'));
  assert.equal(console.text.length, 32 * 1024);
  assert.equal(device.statistics()['cutBytes'], 100_000 - 32 * 1024);
  device.receive(0, Buffer.from('typed'));
  const gpa = driver.allocate(8);
  const head = driver.ring(RECEIVE).addChain([{ gpa, length: 8 }]);
  driver.kick(RECEIVE);
  assert.deepEqual(await driver.nextUsed(RECEIVE), { id: head, length: 0 });
  assert.equal((await receive(driver, RECEIVE)).toString(), 'typed');
});

test('a pause holds input and messages, and a saved state has them', async (context) => {
  const { driver, device } = open(context);
  await start(driver);
  await driver.transport.quiesce();
  device.receive(0, Buffer.from('held'));
  device.setHostOpen(1, true);
  device.resize(80, 24);
  const saved = driver.transport.save();
  driver.transport.resume();
  assert.equal((await receive(driver, RECEIVE)).toString(), 'held');
  assert.deepEqual(await nextControl(driver), [1, PORT_OPEN, 1, '']);
  await driver.transport.quiesce();

  const other = open(context);
  other.driver.transport.load(saved);
  const again = other.driver.transport.save();
  assert.deepEqual(again, saved);
});

testHostileRings('virtio-console', [TRANSMIT, CONTROL_TRANSMIT, PORT_TRANSMIT], (context) => {
  const { driver, console } = open(context);
  const works = async () => {
    await send(driver, TRANSMIT, Buffer.from('works'));
    assert.equal(console.text, 'works');
  };
  return { driver, works };
});
