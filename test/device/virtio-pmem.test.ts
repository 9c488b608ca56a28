import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { PMEM_QUEUES, PmemDevice } from '../../vmm/devices/virtio/pmem/pmem-device.ts';
import { scriptQueues } from '../../vmm/kvm/queue-workers.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { REG } from '../support/mmio-driver.ts';

const REGION = { gpa: 2 ** 33, sizeBytes: 3 * 2 ** 21 };
/** Linux's `include/uapi/linux/virtio_pmem.h`. */
const FLUSH = 0;
const [OK, EIO] = [0, 1];

/** A device whose flushes end when the test says so. */
function open(
  context: TestContext,
  flush: () => Promise<void>,
  fileBytes: number = REGION.sizeBytes,
) {
  const failures: unknown[] = [];
  let pmem: PmemDevice | undefined;
  const driver = new FakeDriver(PMEM_QUEUES, (host) => {
    const onFailure = (error: unknown) => failures.push(error);
    const createQueues = scriptQueues(host);
    pmem = new PmemDevice({
      ...{ id: 'pmem0', region: REGION, fileBytes },
      ...{ flush, onFailure, createQueues },
    });
    return pmem;
  });
  assert.ok(pmem);
  context.after(() => driver.close());
  return { driver, pmem, failures };
}

/** Sends a request. @returns where the answer will be */
function send(driver: FakeDriver, type: number, length = 4, room = 4): number {
  const gpa = driver.allocate(64);
  driver.memory.view(gpa, 4).setUint32(0, type, true);
  const answer = driver.allocate(4);
  driver.ring().addChain([
    { gpa, length },
    { gpa: answer, length: room, writable: true },
  ]);
  driver.kick();
  return answer;
}
const answerAt = (driver: FakeDriver, gpa: number) => driver.memory.view(gpa, 4).getUint32(0, true);

async function ask(driver: FakeDriver, type: number, length = 4): Promise<number> {
  const answer = send(driver, type, length);
  assert.equal((await driver.nextUsed()).length, 4);
  return answerAt(driver, answer);
}

test('a flush is answered once what was written is durable, or with an error', async (context) => {
  const outcomes: PromiseWithResolvers<void>[] = [];
  const { driver, pmem, failures } = open(context, () => {
    outcomes.push(Promise.withResolvers());
    return (outcomes.at(-1) as PromiseWithResolvers<void>).promise;
  });
  await driver.start();
  const field = (offset: number) =>
    driver.registers.read(REG.CONFIG + offset) +
    driver.registers.read(REG.CONFIG + offset + 4) * 2 ** 32;
  assert.deepEqual([field(0), field(8)], [REGION.gpa, REGION.sizeBytes]);

  const first = send(driver, FLUSH);
  await driver.until('the first flush', () => outcomes.length === 1);
  // These may be of later writes, so they need another flush, which is for both of them.
  const later = [send(driver, FLUSH), send(driver, FLUSH)];
  await driver.until('all requests', () => pmem.statistics()['flushes'] === 3);
  assert.equal(driver.ring().takeUsed(), undefined);
  outcomes[0]?.resolve();
  await driver.nextUsed();
  assert.equal(answerAt(driver, first), OK);
  await driver.until('the second flush', () => outcomes.length === 2);
  assert.equal(driver.ring().takeUsed(), undefined);
  outcomes[1]?.reject(new Error('EIO'));
  for (const answer of later) {
    await driver.nextUsed();
    assert.equal(answerAt(driver, answer), EIO);
  }
  assert.equal(failures.length, 1);
  assert.equal(pmem.statistics()['errors'], 2);
  assert.equal(outcomes.length, 2);
});

test('a reset waits for a flush in flight', async (context) => {
  const outcome = Promise.withResolvers<void>();
  const { driver, pmem } = open(context, () => outcome.promise);
  await driver.start();
  send(driver, FLUSH);
  await driver.until('the flush', () => pmem.statistics()['flushes'] === 1);
  let isReset = false;
  const reset = Promise.resolve(driver.transport.reset()).then(() => {
    isReset = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(isReset, false);
  outcome.resolve();
  await reset;
});

test('unknown, cut and endless requests are errors; a driver cannot write the configuration', async (context) => {
  let flushes = 0;
  const { driver, pmem } = open(context, async () => {
    flushes += 1;
  });
  await driver.start();
  for (const type of [1, 2, 0xffff_ffff]) assert.equal(await ask(driver, type), EIO);
  for (const length of [0, 1, 3]) assert.equal(await ask(driver, FLUSH, length), EIO);
  assert.equal(pmem.statistics()['errors'], 6);
  assert.equal(flushes, 0);
  assert.equal(await ask(driver, FLUSH, 64), OK);
  // Without room for an answer.
  send(driver, FLUSH, 4, 0);
  assert.equal((await driver.nextUsed()).length, 0);
  assert.equal(flushes, 2);
  driver.registers.write(REG.CONFIG, 0);
  assert.equal(driver.registers.read(REG.CONFIG + 8), REGION.sizeBytes);
});

testHostileRings('virtio-pmem', [0], (context) => {
  const { driver } = open(context, () => Promise.resolve());
  const works = async () => assert.equal(await ask(driver, FLUSH), OK);
  return { driver, works };
});

test('a saved state is not for a file of another size, though the region has the same', async (context) => {
  const bytes = REGION.sizeBytes - 4096;
  const { driver } = open(context, async () => {}, bytes);
  await driver.start();
  await driver.transport.quiesce();
  const saved = driver.transport.save();
  open(context, async () => {}, bytes).driver.transport.load(saved);
  assert.throws(() => open(context, async () => {}, bytes + 512).driver.transport.load(saved), {
    code: 'invalid-state',
    message: /pmem0.*its file had 6287360 bytes, and has 6287872 now: give the file as it was/,
  });
});
