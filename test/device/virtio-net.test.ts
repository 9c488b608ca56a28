/** A network device with a fake driver; the other end of its link is the test. */
import assert from 'node:assert/strict';
import { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { StateReader } from '../../vmm/devices/device-state.ts';
import { VIRTIO_F_VERSION_1 } from '../../vmm/devices/virtio/features.ts';
import {
  NetDevice,
  type NetLink,
  netQueueCount,
  VIRTIO_NET_F_CTRL_VQ,
  VIRTIO_NET_F_MQ,
} from '../../vmm/devices/virtio/net/net-device.ts';
import { socketPair } from '../../vmm/host/descriptors.ts';
import { KvmNetLink } from '../../vmm/kvm/net-link.ts';
import { netWorker, type QueueHost, scriptQueues } from '../../vmm/kvm/queue-workers.ts';
import { KvmRateLimiter } from '../../vmm/kvm/rate-limiter.ts';
import { parseMacAddress } from '../../vmm/util/mac-address.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { INT_CONFIG, REG } from '../support/mmio-driver.ts';

const RX = 0;
const TX = 1;
const HEADER_BYTES = 12;
const LINK_UP = 1;
const MAC = '52:54:00:12:34:56';

/** A frame with its length in front, as it goes over the stream. */
function message(frame: Uint8Array): Buffer {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(frame.length);
  return Buffer.concat([prefix, frame]);
}

interface Opened {
  readonly driver: FakeDriver;
  readonly device: NetDevice;
  readonly peers: readonly Socket[];
  /** Numbers of pairs that the driver has put into service. */
  readonly pairs: readonly number[];
  readonly failures: readonly string[];
}

function open(context: TestContext, queuePairs = 1): Opened {
  const failures: string[] = [];
  const pairs: number[] = [];
  const ends = Array.from({ length: queuePairs }, socketPair);
  const peers = ends.map(([, fd]) => new Socket({ fd, readable: true, writable: true }));
  const native = new KvmNetLink({
    kind: 'stream',
    fds: ends.map(([fd]) => fd),
    onFailure: (code) => failures.push(code),
  });
  const link: NetLink = {
    offloads: false,
    setUp: (up) => native.setUp(up),
    setPairs: (count) => pairs.push(count),
  };
  let device: NetDevice | undefined;
  const driver = new FakeDriver(netQueueCount(queuePairs), (host: QueueHost) => {
    const limiter = new KvmRateLimiter({});
    device = new NetDevice({
      id: 'net0',
      mac: parseMacAddress(MAC) ?? new Uint8Array(),
      mtu: 1500,
      link,
      queuePairs,
      createWorker: netWorker(host, native.ports, { receive: limiter, transmit: limiter }),
      createQueues: scriptQueues(host),
    });
    return device;
  });
  context.after(async () => {
    await driver.close();
    native.close();
    for (const peer of peers) peer.destroy();
  });
  assert.ok(device);
  return { driver, device, peers, pairs, failures };
}

function offerBuffer(driver: FakeDriver): { gpa: number; head: number } {
  const gpa = driver.allocate(2048);
  const head = driver.ring(RX).addChain([{ gpa, length: 2048, writable: true }]);
  driver.kick(RX);
  return { gpa, head };
}

async function receives({ driver, peers }: Opened): Promise<void> {
  const { gpa } = offerBuffer(driver);
  const frame = Buffer.alloc(60, 'frame to the guest');
  peers[0]?.write(message(frame));
  const used = await driver.nextUsed(RX);
  assert.equal(used.length, HEADER_BYTES + frame.length);
  const received = Buffer.from(driver.memory.slice(gpa + HEADER_BYTES, frame.length));
  assert.deepEqual(received, frame);
}

async function sends({ driver, peers }: Opened): Promise<void> {
  const frame = Buffer.alloc(60, 'frame of the guest');
  const gpa = driver.allocate(HEADER_BYTES + frame.length);
  driver.memory.write(gpa, Buffer.concat([Buffer.alloc(HEADER_BYTES), frame]));
  driver.ring(TX).addChain([{ gpa, length: HEADER_BYTES + frame.length }]);
  driver.kick(TX);
  await driver.nextUsed(TX);
  let data: Buffer | null = null;
  await driver.until('a frame', () => {
    data = peers[0]?.read() ?? null;
    return data !== null;
  });
  assert.deepEqual(data, message(frame));
}

test('frames go both ways, and are counted', async (context) => {
  const opened = open(context);
  const { driver, device } = opened;
  await driver.start();
  await receives(opened);
  await sends(opened);
  const { receivedFrames, receivedBytes, sentFrames, sentBytes } = device.statistics();
  assert.deepEqual([receivedFrames, receivedBytes, sentFrames, sentBytes], [1, 60, 1, 60]);
});

test('the configuration space has the MAC address, the link and the MTU', async (context) => {
  const { driver } = open(context);
  await driver.start();
  const { registers } = driver;
  const bytes = Array.from({ length: 12 }, (_, i) => registers.bus.guestRead(REG.CONFIG + i, 1));
  assert.deepEqual(Buffer.from(bytes).toString('hex'), '525400123456010001' + '00dc05');
});

test('the driver is notified when the link goes down; frames are dropped until it is up', async (context) => {
  const opened = open(context);
  const { driver, device } = opened;
  await driver.start();
  const status = () => driver.registers.bus.guestRead(REG.CONFIG + 6, 2);
  assert.equal(status(), LINK_UP);
  device.setLink(false);
  assert.equal(await driver.interrupted(), INT_CONFIG);
  assert.equal(status(), 0);
  const gpa = driver.allocate(100);
  driver.memory.write(gpa, Buffer.alloc(100));
  driver.ring(TX).addChain([{ gpa, length: 100 }]);
  driver.kick(TX);
  await driver.nextUsed(TX);
  assert.equal(device.statistics()['sendDrops'], 1);
  device.setLink(false);
  assert.equal(driver.takeInterrupts() > 1, false, 'what has not changed is not told');
  // A reset of the driver does not plug the cable in.
  await driver.start();
  assert.equal(status(), 0);
  device.setLink(true);
  assert.equal((await driver.interrupted()) & INT_CONFIG, INT_CONFIG);
  await sends(opened);
  await receives(opened);
});

test('an end that closes or talks nonsense is reported; the driver’s frames are dropped', async (context) => {
  for (const [end, code] of [
    [(peer: Socket) => peer.destroy(), 'EPIPE'],
    [(peer: Socket) => peer.write(Buffer.alloc(64, 0xff)), 'EPROTO'],
  ] as const) {
    const { driver, device, peers, failures } = open(context);
    await driver.start();
    offerBuffer(driver);
    const [peer] = peers;
    assert.ok(peer);
    end(peer);
    await driver.until('the report', () => failures.length > 0);
    assert.deepEqual(failures, [code]);
    const gpa = driver.allocate(100);
    driver.memory.write(gpa, Buffer.alloc(100));
    driver.ring(TX).addChain([{ gpa, length: 100 }]);
    driver.kick(TX);
    await driver.nextUsed(TX);
    assert.equal(device.statistics()['sendDrops'], 1);
  }
});

const PAIRS_SET = [4, 0];

/** Sends a command on the control queue. @returns the acknowledgement */
async function command(driver: FakeDriver, queue: number, bytes: number[]): Promise<number> {
  const gpa = driver.allocate(bytes.length + 1);
  driver.memory.write(gpa, Uint8Array.from(bytes));
  driver.ring(queue).addChain([
    { gpa, length: bytes.length },
    { gpa: gpa + bytes.length, length: 1, writable: true },
  ]);
  driver.kick(queue);
  assert.equal((await driver.nextUsed(queue)).length, 1);
  return driver.memory.slice(gpa + bytes.length, 1)[0] ?? -1;
}

test('the driver sets the number of queue pairs; a reset leaves one', async (context) => {
  const { driver, pairs } = open(context, 2);
  await driver.start();
  assert.deepEqual(pairs, [1]);
  assert.equal(await command(driver, 4, [...PAIRS_SET, 2, 0]), 0);
  assert.equal(pairs.at(-1), 2);
  for (const bad of [
    [...PAIRS_SET, 0, 0],
    [...PAIRS_SET, 3, 0],
    [...PAIRS_SET, 0, 128],
    [...PAIRS_SET, 1],
    [...PAIRS_SET, 1, 0, 0],
    [0, 0, 1],
    [],
  ]) {
    if (bad.length > 0) assert.equal(await command(driver, 4, bad), 1, bad.join());
  }
  assert.equal(pairs.at(-1), 2, 'what is refused changes nothing');
  await driver.start();
  assert.equal(pairs.at(-1), 1);
});

test('without multiqueue the control queue is the third', async (context) => {
  const { driver } = open(context, 2);
  const features = VIRTIO_F_VERSION_1 | VIRTIO_NET_F_CTRL_VQ;
  assert.equal(features & VIRTIO_NET_F_MQ, 0n);
  await driver.start({ features, queueCount: 3 });
  assert.equal(await command(driver, 2, [...PAIRS_SET, 1, 0]), 0);
});

test('a saved device continues in another one, with its link state and queue pairs', async (context) => {
  const first = open(context, 2);
  await first.driver.start();
  assert.equal(await command(first.driver, 4, [...PAIRS_SET, 2, 0]), 0);
  first.device.setLink(false);
  await first.driver.transport.quiesce();
  const state = JSON.parse(JSON.stringify(first.device.save()));
  const config = first.device.config.save();

  const second = open(context, 2);
  second.device.load(new StateReader('net0', state));
  second.device.config.load(new StateReader('net0', config));
  assert.equal(second.pairs.at(-1), 2);
  assert.equal(second.device.config.linkUp, false);
  for (const activePairs of [0, 3, -1, 'two']) {
    assert.throws(() => second.device.load(new StateReader('net0', { activePairs })), {
      code: 'invalid-state',
    });
  }
});

testHostileRings('virtio-net', [RX], (context) => {
  const opened = open(context);
  const provoke = () => {
    opened.peers[0]?.write(message(Buffer.alloc(60)));
  };
  const works = async () => {
    // The frame that provoked the device comes first.
    const { driver } = opened;
    offerBuffer(driver);
    provoke();
    assert.equal((await driver.nextUsed(RX)).length, HEADER_BYTES + 60);
  };
  return { driver: opened.driver, provoke, works };
});

testHostileRings('virtio-net', [TX], (context) => {
  const opened = open(context);
  return { driver: opened.driver, works: () => sends(opened) };
});
