import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RngDevice } from '../../vmm/devices/virtio/rng/rng-device.ts';
import { rngWorker } from '../../vmm/kvm/queue-workers.ts';
import { FakeDriver } from '../support/fake-driver.ts';
import { testHostileRings } from '../support/hostile-rings.ts';
import { INT_VRING } from '../support/mmio-driver.ts';

function open(context: TestContext): FakeDriver {
  const driver = new FakeDriver(
    1,
    (host) => new RngDevice({ id: 'rng', createWorker: rngWorker(host) }),
  );
  context.after(() => driver.close());
  return driver;
}

test('buffers are filled with bytes that differ', async (context) => {
  const driver = open(context);
  await driver.start({ queueSize: 8 });
  const fillings: string[] = [];
  for (let n = 0; n < 4; n += 1) {
    const gpa = driver.allocate(64);
    const head = driver.ring().addChain([{ gpa, length: 64, writable: true }]);
    driver.kick();
    const used = await driver.nextUsed();
    assert.equal(used.id, head);
    assert.equal(used.length, 64);
    fillings.push(Buffer.from(driver.memory.slice(gpa, 64)).toString('hex'));
  }
  assert.equal(new Set(fillings).size, 4);
  assert.equal(await driver.interrupted(), INT_VRING);
});

test('requests are truncated, and the used length shows it', async (context) => {
  const driver = open(context);
  await driver.start({ queueSize: 8 });
  const length = 16 * 2 ** 20;
  const gpa = driver.allocate(length);
  driver.ring().addChain([{ gpa, length, writable: true }]);
  driver.kick();
  const used = await driver.nextUsed();
  assert.ok(used.length > 0 && used.length <= length);
  assert.ok(
    driver.memory.slice(gpa + used.length, length - used.length).every((byte) => byte === 0xcc),
    'nothing is written beyond what the used ring says',
  );
});

test('a buffer that cannot be written comes back empty', async (context) => {
  const driver = open(context);
  await driver.start({ queueSize: 8 });
  const gpa = driver.allocate(64);
  const head = driver.ring().addChain([{ gpa, length: 64 }]);
  driver.kick();
  assert.deepEqual(await driver.nextUsed(), { id: head, length: 0 });
  assert.ok(driver.memory.slice(gpa, 64).every((byte) => byte === 0xcc));
});

testHostileRings('virtio-rng', [0], (context) => {
  const driver = open(context);
  const works = async () => {
    driver.ring().addChain([{ gpa: driver.allocate(8), length: 8, writable: true }]);
    driver.kick();
    assert.equal((await driver.nextUsed()).length, 8);
  };
  return { driver, works };
});
