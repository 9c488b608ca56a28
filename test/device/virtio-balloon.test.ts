import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import {
  BALLOON_QUEUES,
  BalloonDevice,
  VIRTIO_BALLOON_F_PAGE_REPORTING,
} from '../../vmm/devices/virtio/balloon/balloon-device.ts';
import { VIRTIO_F_VERSION_1 } from '../../vmm/devices/virtio/features.ts';
import { scriptQueues } from '../../vmm/kvm/queue-workers.ts';
import { FakeDriver, HIGH_GPA, MEMORY_BYTES } from '../support/fake-driver.ts';
import { hostilePages } from '../support/hostile-requests.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { INT_CONFIG, REG } from '../support/mmio-driver.ts';

const PAGE = 4096;
const INFLATE = 0;
const DEFLATE = 1;
const STATS = 2;
const REPORTING = 4;
/** `num_pages` and `actual`, from the start of the configuration space. */
const NUM_PAGES = REG.CONFIG;
const ACTUAL = REG.CONFIG + 4;

function open(context: TestContext) {
  let balloon: BalloonDevice | undefined;
  const driver = new FakeDriver(BALLOON_QUEUES, (host) => {
    const { memory } = host;
    balloon = new BalloonDevice({ id: 'balloon', memory, createQueues: scriptQueues(host) });
    return balloon;
  });
  assert.ok(balloon);
  context.after(() => driver.close());
  return { driver, balloon };
}

/** Memory of the guest that a test may give away. */
function pages(driver: FakeDriver, count: number): number {
  return driver.allocate(count * PAGE, PAGE);
}

const isZero = (driver: FakeDriver, gpa: number, length = PAGE) =>
  driver.memory.slice(gpa, length).every((byte) => byte === 0);
const isKept = (driver: FakeDriver, gpa: number, length = PAGE) =>
  driver.memory.slice(gpa, length).every((byte) => byte === 0xcc);

/** Sends page numbers, and waits until the device has them. */
async function send(driver: FakeDriver, queue: number, gpas: readonly number[]): Promise<void> {
  const numbers = Uint32Array.from(gpas, (gpa) => gpa / PAGE);
  const gpa = driver.allocate(numbers.byteLength || 1);
  driver.memory.write(gpa, new Uint8Array(numbers.buffer));
  const head = driver.ring(queue).addChain([{ gpa, length: numbers.byteLength }]);
  driver.kick(queue);
  assert.deepEqual(await driver.nextUsed(queue), { id: head, length: 0 });
}

test('pages in the balloon go back to the host, and no others', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  const gpa = pages(driver, 8);
  // In any order, some in a row, one twice.
  await send(
    driver,
    INFLATE,
    [5, 1, 2, 5, 7].map((page) => gpa + page * PAGE),
  );
  for (let page = 0; page < 8; page += 1) {
    const given = [1, 2, 5, 7].includes(page);
    assert.equal(isZero(driver, gpa + page * PAGE), given, `page ${page}`);
    assert.equal(isKept(driver, gpa + page * PAGE), !given, `page ${page}`);
  }
  assert.equal(balloon.statistics()['inflatedBytes'], 4 * PAGE);
  await send(driver, INFLATE, [HIGH_GPA + PAGE]);
  assert.equal(balloon.statistics()['inflatedBytes'], 5 * PAGE);
  await send(driver, DEFLATE, [gpa + PAGE]);
  driver.memory.write(gpa + PAGE, Uint8Array.of(1));
});

test('pages outside of memory are refused, even among valid ones', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  const gpa = pages(driver, 1);
  const outside = [...hostilePages(MEMORY_BYTES), HIGH_GPA + 2 ** 20];
  await send(driver, INFLATE, [...outside, gpa]);
  assert.ok(isZero(driver, gpa));
  assert.equal(balloon.statistics()['refusedPages'], outside.length);
  assert.equal(balloon.statistics()['inflatedBytes'], PAGE);
});

test('requests of odd lengths, without data, or longer than any driver’s are answered', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  await send(driver, INFLATE, []);
  const gpa = pages(driver, 2);
  const request = driver.allocate(7);
  driver.memory.write(
    request,
    new Uint8Array(Uint32Array.of(gpa / PAGE, gpa / PAGE + 1).buffer, 0, 7),
  );
  driver.ring(INFLATE).addChain([{ gpa: request, length: 7 }]);
  const long = driver.allocate(2 ** 20);
  driver.memory.slice(long, 2 ** 20).fill(0xff);
  driver.ring(INFLATE).addChain([{ gpa: long, length: 2 ** 20 }]);
  const writable = pages(driver, 1);
  driver.ring(INFLATE).addChain([{ gpa: writable, length: PAGE, writable: true }]);
  driver.kick(INFLATE);
  for (let i = 0; i < 3; i += 1) assert.equal((await driver.nextUsed(INFLATE)).length, 0);
  assert.ok(isZero(driver, gpa));
  assert.ok(isKept(driver, gpa + PAGE));
  assert.ok(isKept(driver, writable));
  assert.equal(balloon.statistics()['inflatedBytes'], PAGE);
});

test('reported pages go back to the host: whole ones, that the device may write', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  const gpa = pages(driver, 8);
  const head = driver.ring(REPORTING).addChain([
    { gpa: gpa + 7 * PAGE, length: PAGE },
    { gpa: gpa + PAGE, length: 2 * PAGE, writable: true },
    { gpa: gpa + 4 * PAGE + 1, length: 2 * PAGE, writable: true },
    { gpa: gpa + 6 * PAGE + 8, length: PAGE - 8, writable: true },
  ]);
  driver.kick(REPORTING);
  assert.deepEqual(await driver.nextUsed(REPORTING), { id: head, length: 0 });
  const given = Array.from({ length: 8 }, (_, page) => isZero(driver, gpa + page * PAGE));
  assert.deepEqual(given, [false, true, true, false, false, true, false, false]);
  assert.equal(balloon.statistics()['reportedBytes'], 3 * PAGE);
});

test('without the statistics queue, Linux has the reports one queue earlier', async (context) => {
  const { driver } = open(context);
  await driver.start({
    features: VIRTIO_F_VERSION_1 | VIRTIO_BALLOON_F_PAGE_REPORTING,
    queueSize: 16,
  });
  const gpa = pages(driver, 1);
  driver.ring(STATS).addChain([{ gpa, length: PAGE, writable: true }]);
  driver.kick(STATS);
  await driver.nextUsed(STATS);
  assert.ok(isZero(driver, gpa));
});

/** Gives the device a buffer with statistics: pairs of a tag and a value. */
function offerStatistics(
  driver: FakeDriver,
  pairs: readonly (readonly [number, bigint])[],
): { readonly head: number; readonly gpa: number } {
  const bytes = Buffer.alloc(pairs.length * 10);
  for (const [index, [tag, value]] of pairs.entries()) {
    bytes.writeUInt16LE(tag, index * 10);
    bytes.writeBigUInt64LE(value, index * 10 + 2);
  }
  const gpa = driver.allocate(bytes.length);
  driver.memory.write(gpa, bytes);
  const head = driver.ring(STATS).addChain([{ gpa, length: bytes.length }]);
  driver.kick(STATS);
  return { head, gpa };
}

test('statistics are asked for by returning their buffer; nonsense in them is left out', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  const { head } = offerStatistics(driver, [[4, 1000n]]);
  await driver.until('statistics', () => balloon.lastStatistics.freeBytes === 1000);
  assert.equal(driver.ring(STATS).takeUsed(), undefined);
  const fresh = balloon.refreshStatistics();
  assert.equal((await driver.nextUsed(STATS)).id, head);
  offerStatistics(driver, [
    [4, 2000n],
    [3, 2n ** 53n],
    [77, 1n],
    [0xffff, 2n ** 64n - 1n],
    [10, 3n],
  ]);
  await fresh;
  assert.deepEqual(balloon.lastStatistics, { freeBytes: 2000, oomKills: 3 });
});

test('a guest that does not answer requests for statistics delays nobody for long', async (context) => {
  const { driver, balloon } = open(context);
  await balloon.refreshStatistics();
  await driver.start({ queueSize: 16 });
  offerStatistics(driver, [[4, 1000n]]);
  await driver.until('statistics', () => balloon.lastStatistics.freeBytes === 1000);
  const startMs = performance.now();
  await balloon.refreshStatistics();
  assert.ok(performance.now() - startMs < 60_000);
  // A flood of buffers: the last one is held, the others go back.
  for (let i = 0; i < 4; i += 1) offerStatistics(driver, [[4, BigInt(i)]]);
  for (let i = 0; i < 4; i += 1) await driver.nextUsed(STATS);
  assert.equal(balloon.lastStatistics.freeBytes, 3);
});

test('a new size raises an interrupt; the driver can only report its progress', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  balloon.setTarget(10 * PAGE + 1);
  assert.equal(await driver.interrupted(), INT_CONFIG);
  assert.equal(driver.registers.read(NUM_PAGES), 10);
  driver.registers.write(ACTUAL, 7);
  assert.equal(balloon.actualBytes, 7 * PAGE);
  driver.registers.write(NUM_PAGES, 99);
  assert.equal(balloon.targetBytes, 10 * PAGE);
  assert.deepEqual(balloon.gauges(), { targetBytes: 10 * PAGE, actualBytes: 7 * PAGE });
});

test('a pause keeps the held buffer, and a saved state the sizes', async (context) => {
  const { driver, balloon } = open(context);
  await driver.start({ queueSize: 16 });
  const { head, gpa } = offerStatistics(driver, [[4, 1000n]]);
  await driver.until('statistics', () => balloon.lastStatistics.freeBytes === 1000);
  balloon.setTarget(5 * PAGE);
  driver.registers.write(ACTUAL, 3);
  await driver.transport.quiesce();
  const saved = driver.transport.save();
  assert.equal(driver.ring(STATS).takeUsed(), undefined);
  driver.memory.view(gpa, 10).setBigUint64(2, 2000n, true);
  driver.transport.resume();
  await driver.until('the buffer again', () => balloon.lastStatistics.freeBytes === 2000);
  const fresh = balloon.refreshStatistics();
  assert.equal((await driver.nextUsed(STATS)).id, head);
  await driver.transport.quiesce();
  await fresh;

  const other = open(context);
  other.driver.transport.load(saved);
  assert.equal(other.balloon.targetBytes, 5 * PAGE);
  assert.equal(other.balloon.actualBytes, 3 * PAGE);
});

testHostileRings('virtio-balloon', [INFLATE, STATS, REPORTING], (context) => {
  const { driver } = open(context);
  const works = async () => {
    const gpa = pages(driver, 1);
    await send(driver, INFLATE, [gpa]);
    assert.ok(isZero(driver, gpa));
  };
  return { driver, works };
});
