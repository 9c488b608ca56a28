/** virtio-vsock with a fake driver: registers, rings, and the state of a restored machine. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { VsockPorts } from '../../vmm/backends/vsock/vsock-ports.ts';
import { VsockDevice } from '../../vmm/devices/virtio/vsock/vsock-device.ts';
import { vsockWorker } from '../../vmm/kvm/queue-workers.ts';
import { createNativeVsock } from '../../vmm/kvm/vsock.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { REG } from '../support/mmio-driver.ts';

const GUEST_CID = 42;
const RX = 0;
const TX = 1;
const EVENT = 2;
/** `struct virtio_vsock_hdr` (linux/virtio_vsock.h). */
const HEADER_BYTES = 44;
const OP_REQUEST = 1;
const OP_RESPONSE = 2;
const OP_RST = 3;

function open(context: TestContext): { driver: FakeDriver; ports: VsockPorts } {
  const native = createNativeVsock({
    guestCid: GUEST_CID,
    path: '',
    listener: null,
    onAccepted: () => ports.acceptArrived(),
  });
  const ports = new VsockPorts(native);
  const driver = new FakeDriver(3, (host) => {
    return new VsockDevice({
      id: 'vsock',
      guestCid: GUEST_CID,
      connections: native,
      createWorker: vsockWorker(host, native),
    });
  });
  context.after(async () => {
    await driver.close();
    native.close();
  });
  return { driver, ports };
}

/** Sends a packet without data. */
function send(driver: FakeDriver, op: number, guestPort: number, hostPort: number): void {
  const gpa = driver.allocate(HEADER_BYTES);
  const header = driver.memory.view(gpa, HEADER_BYTES);
  driver.memory.slice(gpa, HEADER_BYTES).fill(0);
  header.setBigUint64(0, BigInt(GUEST_CID), true);
  header.setBigUint64(8, 2n, true);
  header.setUint32(16, guestPort, true);
  header.setUint32(20, hostPort, true);
  header.setUint16(28, 1, true);
  header.setUint16(30, op, true);
  header.setUint32(36, 65536, true);
  driver.ring(TX).addChain([{ gpa, length: HEADER_BYTES }]);
  driver.kick(TX);
}

/** Gives the device a buffer. @returns the header of the packet that comes in it */
async function receive(
  driver: FakeDriver,
): Promise<{ op: number; hostPort: number; port: number }> {
  const gpa = driver.allocate(4096);
  driver.ring(RX).addChain([{ gpa, length: 4096, writable: true }]);
  driver.kick(RX);
  await driver.nextUsed(RX);
  const header = driver.memory.view(gpa, HEADER_BYTES);
  return {
    op: header.getUint16(30, true),
    hostPort: header.getUint32(16, true),
    port: header.getUint32(20, true),
  };
}

test('the driver reads its CID, and seqpacket is not offered', async (context) => {
  const { driver } = open(context);
  await driver.start({ queueSize: 16 });
  assert.equal(driver.registers.read(REG.DEVICE_ID), 19);
  assert.equal(driver.registers.read(REG.CONFIG), GUEST_CID);
  assert.equal(driver.registers.read(REG.CONFIG + 4), 0);
  assert.equal(driver.registers.deviceFeatures() & 7n, 0n);
});

test('a connection of this process waits for the driver, and a reset ends it', async (context) => {
  const { driver, ports } = open(context);
  const connecting = ports.connect(7);
  await driver.start({ queueSize: 16 });
  const request = await receive(driver);
  assert.deepEqual([request.op, request.port], [OP_REQUEST, 7]);
  send(driver, OP_RESPONSE, 7, request.hostPort);
  const stream = await connecting;
  const closed = once(stream, 'end');
  await driver.transport.reset();
  stream.resume();
  await closed;
  stream.destroy();
});

test('a signal ends the wait for a guest that does not answer', async (context) => {
  const { driver, ports } = open(context);
  const abort = new AbortController();
  const connecting = ports.connect(7, { signal: abort.signal });
  await driver.start({ queueSize: 16 });
  assert.equal((await receive(driver)).op, OP_REQUEST);
  abort.abort(new Error('too late'));
  await assert.rejects(connecting, { message: 'too late' });
  assert.equal((await receive(driver)).op, OP_RST);
});

test('a restored guest is notified that its connections are gone', async (context) => {
  const saving = open(context).driver;
  await saving.start({ queueSize: 16 });
  await saving.transport.quiesce();
  const state = saving.transport.save();
  const { driver } = open(context);
  // Its memory too: the rings, and an event buffer that the driver had given.
  const gpa = saving.allocate(8);
  saving.ring(EVENT).addChain([{ gpa, length: 8, writable: true }]);
  driver.memory.slice(0, 2 ** 24).set(saving.memory.slice(0, 2 ** 24));
  driver.transport.load(state);
  driver.transport.resume();
  const view = driver.memory.view(saving.ring(EVENT).usedGpa, 16);
  await driver.until('the event', () => view.getUint16(2, true) === 1);
  assert.equal(
    driver.memory.view(gpa, 4).getUint32(0, true),
    0,
    'VIRTIO_VSOCK_EVENT_TRANSPORT_RESET',
  );
});

testHostileRings('virtio-vsock', [TX], (context) => {
  const { driver } = open(context);
  const works = async () => {
    send(driver, OP_RESPONSE, 5, 6);
    assert.equal((await receive(driver)).op, OP_RST);
  };
  return { driver, works };
});
