import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MEM_BLOCK_BYTES } from '../../vmm/devices/virtio/mem/mem-block.ts';
import { MEM_QUEUES, MemDevice, type MemMemory } from '../../vmm/devices/virtio/mem/mem-device.ts';
import { TsvmError } from '../../vmm/errors.ts';
import { scriptQueues } from '../../vmm/kvm/queue-workers.ts';
import { FakeDriver, MEMORY_BYTES } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { INT_CONFIG, REG } from '../support/mmio-driver.ts';

const BLOCK = MEM_BLOCK_BYTES;
/** In the driver's memory, so that it is seen what is discarded; above its rings and buffers. */
const REGION = { gpa: 16 * 2 ** 20, sizeBytes: MEMORY_BYTES - 16 * 2 ** 20 };
const BLOCKS = REGION.sizeBytes / BLOCK;

/** Requests, answers and states by Linux's `include/uapi/linux/virtio_mem.h`. */
const [PLUG, UNPLUG, UNPLUG_ALL, STATE] = [0, 1, 2, 3];
const [ACK, NACK, BUSY, ERROR] = [0, 1, 2, 3];
const [PLUGGED, UNPLUGGED, MIXED] = [0, 1, 2];
const ANSWER_BYTES = 10;

function open(context: TestContext, replaced?: MemMemory) {
  let mem: MemDevice | undefined;
  const driver = new FakeDriver(MEM_QUEUES, (host) => {
    const options = { id: 'mem', memory: replaced ?? host.memory, region: REGION };
    mem = new MemDevice({ ...options, requestedBytes: 0, createQueues: scriptQueues(host) });
    return mem;
  });
  assert.ok(mem);
  context.after(() => driver.close());
  return { driver, mem };
}

/** `struct virtio_mem_req`. */
function request(type: number, gpa: bigint, blocks: number): Uint8Array {
  const bytes = Buffer.alloc(24);
  bytes.writeUInt16LE(type);
  bytes.writeBigUInt64LE(gpa, 8);
  bytes.writeUInt16LE(blocks, 16);
  return bytes;
}

/** Sends a request of any length. @returns the answer, as far as there was room */
async function send(driver: FakeDriver, bytes: Uint8Array, room = ANSWER_BYTES): Promise<Buffer> {
  const gpa = driver.allocate(bytes.length || 1);
  driver.memory.write(gpa, bytes);
  const answer = driver.allocate(room || 1);
  const head = driver.ring().addChain([
    { gpa, length: bytes.length },
    { gpa: answer, length: room, writable: true },
  ]);
  driver.kick();
  const used = await driver.nextUsed();
  assert.equal(used.id, head);
  assert.equal(used.length, Math.min(room, ANSWER_BYTES));
  return Buffer.from(driver.memory.slice(answer, room));
}

/** @returns the type of the answer */
async function ask(driver: FakeDriver, type: number, block: number, blocks = 1): Promise<number> {
  const answer = await send(driver, request(type, BigInt(REGION.gpa + block * BLOCK), blocks));
  return answer.readUInt16LE(0);
}

async function stateOf(driver: FakeDriver, block: number, blocks = 1): Promise<number> {
  const answer = await send(driver, request(STATE, BigInt(REGION.gpa + block * BLOCK), blocks));
  assert.equal(answer.readUInt16LE(0), ACK);
  return answer.readUInt16LE(8);
}

/** A field of 64 bits of the configuration space. */
function field(driver: FakeDriver, offset: number): number {
  const at = REG.CONFIG + offset;
  return driver.registers.read(at) + driver.registers.read(at + 4) * 2 ** 32;
}
const pluggedSize = (driver: FakeDriver) => field(driver, 40);

const fill = (driver: FakeDriver, block: number) =>
  driver.memory.slice(REGION.gpa + block * BLOCK, BLOCK).fill(0xcc);
const isFilledWith = (driver: FakeDriver, block: number, byte: number) =>
  driver.memory.slice(REGION.gpa + block * BLOCK, BLOCK).every((each) => each === byte);

test('the driver plugs what was requested and no more; unplugged memory is the host’s', async (context) => {
  const { driver, mem } = open(context);
  await driver.start();
  assert.equal(field(driver, 0), BLOCK);
  assert.equal(field(driver, 16), REGION.gpa);
  assert.equal(field(driver, 24), REGION.sizeBytes);
  assert.equal(field(driver, 32), REGION.sizeBytes);
  assert.equal(await ask(driver, PLUG, 0), NACK);

  mem.request(3 * BLOCK);
  assert.ok((await driver.interrupted()) & INT_CONFIG);
  assert.equal(field(driver, 48), 3 * BLOCK);
  assert.equal(await ask(driver, PLUG, 0, 4), NACK);
  assert.equal(await ask(driver, PLUG, 1, 2), ACK);
  assert.equal(await ask(driver, PLUG, 4), ACK);
  assert.equal(await ask(driver, PLUG, 5), NACK);
  assert.equal(pluggedSize(driver), 3 * BLOCK);
  assert.deepEqual(
    [await stateOf(driver, 1, 2), await stateOf(driver, 3), await stateOf(driver, 0, BLOCKS)],
    [PLUGGED, UNPLUGGED, MIXED],
  );

  for (const block of [0, 1, 2, 3, 4]) fill(driver, block);
  mem.request(0);
  assert.ok((await driver.interrupted()) & INT_CONFIG);
  assert.equal(await ask(driver, UNPLUG, 2), ACK);
  assert.ok(isFilledWith(driver, 2, 0));
  for (const block of [0, 1, 3, 4]) assert.ok(isFilledWith(driver, block, 0xcc), `block ${block}`);
  assert.equal(mem.pluggedBytes, 2 * BLOCK);
  assert.equal(await ask(driver, UNPLUG_ALL, 0, 0), ACK);
  assert.ok(isFilledWith(driver, 1, 0) && isFilledWith(driver, 4, 0));
  assert.equal(pluggedSize(driver), 0);
  assert.deepEqual(mem.gauges(), { requestedBytes: 0, pluggedBytes: 0 });
  const { blocksPlugged, blocksUnplugged, refusedRequests } = mem.statistics();
  assert.deepEqual([blocksPlugged, blocksUnplugged, refusedRequests], [3, 3, 0]);
});

test('requests outside of the region, unaligned, overlapping, empty or unknown are errors and change nothing', async (context) => {
  const { driver, mem } = open(context);
  await driver.start();
  mem.request(REGION.sizeBytes);
  assert.equal(await ask(driver, PLUG, 2, 2), ACK);
  fill(driver, 2);
  const at = (block: number, offset = 0) => BigInt(REGION.gpa + block * BLOCK + offset);
  const ranges: [bigint, number][] = [
    [at(0), 0],
    [at(0), BLOCKS + 1],
    [at(0), 0xffff],
    [at(BLOCKS), 1],
    [at(BLOCKS - 1), 2],
    [at(-1), 1],
    [at(-1), 2],
    [at(0, 1), 1],
    [at(0, 4096), 1],
    [at(0, -1), 1],
    [0n, 1],
    [2n ** 53n + 1n, 1],
    [2n ** 64n - BigInt(BLOCK), 1],
    [2n ** 64n - 1n, 0xffff],
  ];
  let errors = 0;
  for (const [gpa, blocks] of ranges) {
    for (const type of [PLUG, UNPLUG, STATE]) {
      const answer = await send(driver, request(type, gpa, blocks));
      assert.equal(answer.readUInt16LE(0), ERROR, `type ${type}, 0x${gpa.toString(16)}, ${blocks}`);
      errors += 1;
    }
  }
  // Plugged already, in part; not plugged, in part.
  for (const first of [1, 2, 3]) assert.equal(await ask(driver, PLUG, first, 2), ERROR);
  for (const first of [0, 1, 3, 4]) assert.equal(await ask(driver, UNPLUG, first, 2), ERROR);
  for (const type of [4, 5, 0x100, 0xffff]) assert.equal(await ask(driver, type, 2), ERROR);
  assert.equal(mem.statistics()['refusedRequests'], errors + 3 + 4 + 4);
  assert.equal(pluggedSize(driver), 2 * BLOCK);
  assert.ok(isFilledWith(driver, 2, 0xcc));
  assert.equal(await stateOf(driver, 2, 2), PLUGGED);
});

test('requests that are cut or too long, and answers without room', async (context) => {
  const { driver, mem } = open(context);
  await driver.start();
  mem.request(4 * BLOCK);
  const plug = request(PLUG, BigInt(REGION.gpa), 1);
  for (const length of [0, 1, 2, 8, 15, 17]) {
    const answer = await send(driver, plug.subarray(0, length));
    assert.equal(answer.readUInt16LE(0), ERROR, `${length} bytes`);
  }
  assert.equal(pluggedSize(driver), 0);
  assert.equal((await send(driver, plug.subarray(0, 18))).readUInt16LE(0), ACK);
  const long = Buffer.concat([request(PLUG, BigInt(REGION.gpa + BLOCK), 1), Buffer.alloc(4096)]);
  assert.equal((await send(driver, long)).readUInt16LE(0), ACK);
  assert.equal(
    (await send(driver, request(UNPLUG_ALL, 0n, 0).subarray(0, 2))).readUInt16LE(0),
    ACK,
  );
  for (const room of [0, 1, 9]) {
    await send(driver, request(STATE, BigInt(REGION.gpa), 1), room);
  }
  const roomy = await send(driver, request(STATE, BigInt(REGION.gpa), 1), 64);
  assert.ok(roomy.subarray(ANSWER_BYTES).every((byte) => byte === 0xcc));
});

test('the driver cannot write the configuration', async (context) => {
  const { driver, mem } = open(context);
  await driver.start();
  for (let offset = 0; offset < 56; offset += 4) {
    driver.registers.write(REG.CONFIG + offset, 0xffff_ffff);
  }
  assert.equal(field(driver, 0), BLOCK);
  assert.equal(field(driver, 48), 0);
  assert.equal(mem.requestedBytes, 0);
});

test('a reset of the device leaves plugged memory, and a saved state has it', async (context) => {
  const { driver, mem } = open(context);
  await driver.start();
  mem.request(5 * BLOCK);
  assert.equal(await ask(driver, PLUG, 0, 2), ACK);
  assert.equal(await ask(driver, PLUG, BLOCKS - 1), ACK);
  fill(driver, 0);
  await driver.start();
  assert.equal(pluggedSize(driver), 3 * BLOCK);
  assert.equal(await stateOf(driver, 0, 2), PLUGGED);
  assert.ok(isFilledWith(driver, 0, 0xcc));

  await driver.transport.quiesce();
  const saved = driver.transport.save();
  const other = open(context);
  other.driver.transport.load(saved);
  assert.deepEqual(other.mem.gauges(), { requestedBytes: 5 * BLOCK, pluggedBytes: 3 * BLOCK });
  await other.driver.start();
  assert.deepEqual(
    [await stateOf(other.driver, 0, 2), await stateOf(other.driver, BLOCKS - 1)],
    [PLUGGED, PLUGGED],
  );
  assert.equal(await stateOf(other.driver, 2, BLOCKS - 3), UNPLUGGED);
});

test('memory that the host cannot take back stays plugged', async (context) => {
  let refuses = true;
  const memory = {
    discard: () => {
      if (refuses) throw new TsvmError('kvm-failed', 'discarding guest memory: EAGAIN');
    },
  };
  const { driver, mem } = open(context, memory);
  await driver.start();
  mem.request(2 * BLOCK);
  assert.equal(await ask(driver, PLUG, 0, 2), ACK);
  assert.equal(await ask(driver, UNPLUG, 0), BUSY);
  assert.equal(await ask(driver, UNPLUG_ALL, 0, 0), BUSY);
  assert.equal(pluggedSize(driver), 2 * BLOCK);
  assert.equal(mem.statistics()['discardFailures'], 2);
  refuses = false;
  assert.equal(await ask(driver, UNPLUG_ALL, 0, 0), ACK);
  assert.equal(pluggedSize(driver), 0);
});

testHostileRings('virtio-mem', [0], (context) => {
  const { driver, mem } = open(context);
  const works = async () => {
    mem.request(BLOCK);
    assert.equal(await ask(driver, PLUG, 0), ACK);
    assert.equal(await ask(driver, UNPLUG, 0), ACK);
  };
  return { driver, works };
});
