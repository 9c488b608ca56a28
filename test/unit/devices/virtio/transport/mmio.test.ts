import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  MMIO_BANK,
  MMIO_INTERRUPT_STATUS_WORD,
  MmioTransport,
} from '../../../../../vmm/devices/virtio/transport/mmio.ts';
import { FakeInterruptLine, FakeRegisterBank } from '../../../../support/fake-register-bank.ts';
import {
  INT_CONFIG,
  INT_VRING,
  MmioDriver,
  REG,
  S_ACKNOWLEDGE,
  S_DRIVER,
  S_DRIVER_OK,
  S_FAILED,
  S_FEATURES_OK,
  S_NEEDS_RESET,
} from '../../../../support/mmio-driver.ts';
import { StubVirtioDevice } from '../../../../support/stub-virtio-device.ts';

const VERSION_1 = 1n << 32n;
const ALL_SET = S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK;
const RING = { size: 32, descriptorGpa: 0x1000, availableGpa: 0x2000, usedGpa: 0x3000 };

function setUp() {
  const device = new StubVirtioDevice();
  const bank = new FakeRegisterBank(MMIO_BANK);
  const interrupt = new FakeInterruptLine();
  const guestErrors: string[] = [];
  const transport = new MmioTransport({
    device,
    bank,
    interrupt,
    onGuestError: (reason) => guestErrors.push(reason),
  });
  bank.connect(transport);
  return { device, bank, interrupt, guestErrors, transport, driver: new MmioDriver(bank) };
}

/** A device in service with queue 1 ready. */
async function setUpLive() {
  const all = setUp();
  assert.ok(await all.driver.negotiate());
  all.driver.setUpQueue(1, RING);
  all.driver.driverOk();
  return all;
}

test('a driver that does what Linux does gets a device in service', async () => {
  const { device, driver, interrupt } = await setUpLive();
  assert.equal(driver.status, ALL_SET);
  assert.equal(driver.read(REG.DEVICE_ID), 42);
  assert.equal(device.activations.length, 1);
  assert.equal(device.activations[0]?.features, device.features);
  assert.deepEqual(device.activations[0]?.queues, [{ index: 1, ...RING }]);
  assert.equal(interrupt.pulses, 0);
});

test('MMIO reads and writes of odd widths and offsets, in every register', async () => {
  for (const { bank, device, transport } of [setUp(), await setUpLive()]) {
    const status = bank.guestRead(REG.STATUS, 4);
    for (let offset = 0; offset < 0x200; offset += 1) {
      for (const width of [1, 2, 4]) {
        if (width === 4 && offset % 4 === 0 && offset < REG.CONFIG) continue;
        for (const value of [0, 1, 0xff, 0xffff_ffff]) {
          await bank.guestWrite(offset, value, width);
        }
        const value = bank.guestRead(offset, width);
        if (offset < REG.CONFIG) assert.equal(value, 0, `read of ${width} at 0x${offset}`);
        assert.ok(value >= 0 && value < 2 ** (8 * width));
      }
    }
    assert.equal(bank.guestRead(REG.STATUS, 4), status, 'nothing changed the status');
    assert.equal(device.resets, 0);
    assert.ok((transport.statistics()['ignoredReads'] ?? 0) > 0);
    assert.ok((transport.statistics()['ignoredWrites'] ?? 0) > 0);
  }
});

test('every value in every control register, in every status, leaves a device that resets', async () => {
  const values = [0xffff_ffff, 0x8000_0000, 0x1_0000, 2, 1];
  for (const reached of [0, 1, 3, 11, 15]) {
    const { driver, bank } = setUp();
    if (reached >= 11) await driver.negotiate();
    if (reached === 15) driver.driverOk();
    if (reached < 11) driver.write(REG.STATUS, reached);
    for (let offset = 0; offset < REG.CONFIG; offset += 4) {
      for (const value of values) {
        await bank.guestWrite(offset, value, 4);
        bank.guestRead(offset, 4);
      }
    }
    await driver.write(REG.STATUS, 0);
    assert.equal(driver.status, 0);
    assert.ok(await driver.negotiate(), `from status ${reached}`);
  }
});

test('write-only and reserved registers read 0, and writes to read-only ones do nothing', () => {
  const { driver, transport } = setUp();
  const unreadable = [
    REG.DEVICE_FEATURES_SEL,
    REG.DRIVER_FEATURES,
    REG.QUEUE_SEL,
    REG.QUEUE_NUM,
    REG.QUEUE_NOTIFY,
    REG.INTERRUPT_ACK,
    REG.QUEUE_DESC_LOW,
    REG.SHM_SEL,
    REG.QUEUE_RESET,
    0x028,
    0x040,
    0x0f8,
  ];
  for (const offset of unreadable) assert.equal(driver.read(offset), 0, `0x${offset.toString(16)}`);
  assert.equal(transport.statistics()['ignoredReads'], unreadable.length);
  for (const offset of [REG.MAGIC_VALUE, REG.DEVICE_ID, REG.QUEUE_NUM_MAX, REG.QUEUE_RESET]) {
    driver.write(offset, 0xffff_ffff);
  }
  assert.equal(transport.statistics()['ignoredWrites'], 4);
  assert.equal(driver.read(REG.MAGIC_VALUE), 0x74726976);
});

test('there is no shared memory region: length and base read -1', () => {
  const { driver } = setUp();
  for (const id of [0, 1, 255]) {
    driver.write(REG.SHM_SEL, id);
    for (const offset of [REG.SHM_LEN_LOW, REG.SHM_LEN_HIGH, REG.SHM_BASE_LOW, REG.SHM_BASE_HIGH]) {
      assert.equal(driver.read(offset), 0xffff_ffff);
    }
  }
});

test('a queue that does not exist has size 0 and cannot be made ready', async () => {
  const { driver } = setUp();
  await driver.negotiate();
  for (const index of [2, 255, 0xffff_ffff]) {
    driver.write(REG.QUEUE_SEL, index);
    assert.equal(driver.read(REG.QUEUE_NUM_MAX), 0);
    driver.write(REG.QUEUE_READY, 1);
    assert.equal(driver.read(REG.QUEUE_READY), 0);
  }
  driver.write(REG.QUEUE_SEL, 0);
  assert.equal(driver.read(REG.QUEUE_NUM_MAX), 64);
});

test('illegal status transitions change nothing and are counted', () => {
  const { driver, device, transport } = setUp();
  const illegal = [S_DRIVER, S_DRIVER_OK, S_FEATURES_OK, ALL_SET, S_NEEDS_RESET, 0x100, 0x10];
  for (const value of illegal) {
    driver.write(REG.STATUS, value);
    assert.equal(driver.status, 0, `0x${value.toString(16)}`);
  }
  assert.equal(transport.statistics()['ignoredWrites'], illegal.length);
  assert.equal(device.activations.length, 0);
  driver.addStatus(S_ACKNOWLEDGE);
  driver.addStatus(S_DRIVER);
  driver.write(REG.STATUS, S_ACKNOWLEDGE);
  assert.equal(driver.status, S_ACKNOWLEDGE | S_DRIVER, 'a driver cannot clear a bit');
});

test('FAILED is kept until the reset', async () => {
  const { driver } = await setUpLive();
  driver.addStatus(S_FAILED);
  assert.equal(driver.status, ALL_SET | S_FAILED);
  await driver.write(REG.STATUS, 0);
  assert.equal(driver.status, 0);
});

test('unoffered features acked: FEATURES_OK does not stick', () => {
  const { driver, device, guestErrors } = setUp();
  driver.addStatus(S_ACKNOWLEDGE);
  driver.addStatus(S_DRIVER);
  for (const features of [device.features | (1n << 4n), device.features | (1n << 63n), 8n]) {
    driver.setDriverFeatures(features);
    driver.addStatus(S_FEATURES_OK);
    assert.equal(driver.status, S_ACKNOWLEDGE | S_DRIVER, `0x${features.toString(16)}`);
  }
  assert.match(guestErrors[0] ?? '', /^stub: .*not offered/);
  assert.match(guestErrors[2] ?? '', /VERSION_1/);
  driver.setDriverFeatures(VERSION_1);
  driver.addStatus(S_FEATURES_OK);
  assert.equal(driver.status, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
});

test('features cannot change before DRIVER or after FEATURES_OK', async () => {
  const { driver, device } = setUp();
  driver.setDriverFeatures(1n << 5n);
  assert.ok(await driver.negotiate(VERSION_1));
  driver.setDriverFeatures(device.features);
  driver.driverOk();
  assert.equal(device.activations[0]?.features, VERSION_1);
});

test('queues are not configured before FEATURES_OK', () => {
  const { driver } = setUp();
  driver.write(REG.QUEUE_READY, 1);
  assert.equal(driver.read(REG.QUEUE_READY), 0);
});

test('queue registers do not change while the queue is ready', async () => {
  const { driver, device } = setUp();
  await driver.negotiate();
  driver.setUpQueue(0, RING);
  driver.write(REG.QUEUE_NUM, 4);
  driver.write(REG.QUEUE_DESC_LOW, 0x9000);
  driver.driverOk();
  assert.deepEqual(device.activations[0]?.queues, [{ index: 0, ...RING }]);
});

test('queue writes after DRIVER_OK change nothing', async () => {
  const { driver, device, transport } = await setUpLive();
  driver.write(REG.QUEUE_SEL, 1);
  const before = transport.statistics()['ignoredWrites'] ?? 0;
  for (let offset: number = REG.QUEUE_DESC_LOW; offset <= REG.QUEUE_USED_HIGH; offset += 4) {
    driver.write(offset, 0xdead_beef);
  }
  driver.write(REG.QUEUE_NUM, 1);
  driver.write(REG.QUEUE_SEL, 0);
  driver.write(REG.QUEUE_READY, 1);
  assert.equal(driver.read(REG.QUEUE_READY), 0);
  assert.ok((transport.statistics()['ignoredWrites'] ?? 0) >= before + 8);
  assert.deepEqual(device.activations[0]?.queues, [{ index: 1, ...RING }]);
});

test('QueueReady = 0 on a live queue: it reads 0 once the device has stopped using it', async () => {
  const { driver, device } = await setUpLive();
  const { promise, resolve } = Promise.withResolvers<void>();
  device.inFlight = promise;
  driver.write(REG.QUEUE_SEL, 1);
  const stop = driver.write(REG.QUEUE_READY, 0);
  assert.ok(stop instanceof Promise, 'the vCPU waits');
  // Another vCPU meanwhile.
  assert.equal(driver.read(REG.QUEUE_READY), 1);
  const again = driver.write(REG.QUEUE_READY, 0);
  resolve();
  await Promise.all([stop, again]);
  assert.equal(driver.read(REG.QUEUE_READY), 0);
  assert.deepEqual(device.stoppedQueues, [1, 1]);
  assert.equal(driver.status, ALL_SET, 'the device stays in service');

  driver.write(REG.QUEUE_READY, 1);
  driver.write(REG.QUEUE_NUM, 4);
  assert.equal(driver.read(REG.QUEUE_READY), 0, 'until a reset it is of no use');
  await driver.negotiate();
  driver.setUpQueue(1, RING);
  driver.driverOk();
  assert.deepEqual(device.activations[1]?.queues, [{ index: 1, ...RING }]);
});

test('QueueReady = 0 where there is nothing to stop wakes no device', async () => {
  const { driver, device } = await setUpLive();
  for (const index of [0, 2, 0xffff_ffff]) {
    driver.write(REG.QUEUE_SEL, index);
    assert.equal(driver.write(REG.QUEUE_READY, 0), undefined);
  }
  device.activations[0]?.needsReset('a descriptor loop');
  driver.write(REG.QUEUE_SEL, 1);
  assert.equal(driver.write(REG.QUEUE_READY, 0), undefined, 'it has stopped by itself');
  assert.equal(driver.read(REG.QUEUE_READY), 0);
  assert.deepEqual(device.stoppedQueues, []);
});

test('a reset while a queue stops: the new driver finds its own queue ready', async () => {
  const { driver, device } = await setUpLive();
  const { promise, resolve } = Promise.withResolvers<void>();
  device.inFlight = promise;
  driver.write(REG.QUEUE_SEL, 1);
  const stop = driver.write(REG.QUEUE_READY, 0);
  device.inFlight = undefined;
  await driver.negotiate();
  driver.setUpQueue(1, RING);
  driver.driverOk();
  resolve();
  await stop;
  assert.equal(driver.read(REG.QUEUE_READY), 1);
});

test('queue size 0, not a power of two, above the maximum: the device needs a reset', async () => {
  for (const size of [0, 33, 65, 128, 0x1_0000, 0xffff_ffff]) {
    const { driver, device, interrupt, guestErrors } = setUp();
    await driver.negotiate();
    driver.setUpQueue(0, { ...RING, size });
    driver.driverOk();
    assert.equal(driver.status, ALL_SET | S_NEEDS_RESET, `size ${size}`);
    assert.equal(device.activations.length, 0);
    assert.equal(interrupt.pulses, 1);
    assert.equal(driver.read(REG.INTERRUPT_STATUS), INT_CONFIG);
    assert.match(guestErrors[0] ?? '', /queue 0: size/);
    await driver.write(REG.STATUS, 0);
    assert.ok(await driver.negotiate(), 'it works after a reset');
  }
});

test('a device that cannot start needs a reset', async () => {
  const { driver, device, interrupt, guestErrors } = setUp();
  device.failActivation = new Error('a ring is not in guest memory');
  await driver.negotiate();
  driver.setUpQueue(0, RING);
  driver.driverOk();
  assert.equal(driver.status, ALL_SET | S_NEEDS_RESET);
  assert.equal(interrupt.pulses, 1);
  assert.deepEqual(guestErrors, ['stub: a ring is not in guest memory']);
  device.failActivation = undefined;
  await driver.negotiate();
  driver.setUpQueue(0, RING);
  driver.driverOk();
  assert.equal(driver.status, ALL_SET);
});

test('a broken queue: DEVICE_NEEDS_RESET and a configuration interrupt', async () => {
  const { driver, device, bank, interrupt, guestErrors } = await setUpLive();
  // A used buffer that the driver has not acknowledged yet keeps its bit.
  Atomics.or(bank.words, MMIO_INTERRUPT_STATUS_WORD, INT_VRING);
  device.activations[0]?.needsReset('a descriptor loop');
  assert.equal(driver.status, ALL_SET | S_NEEDS_RESET);
  assert.equal(interrupt.pulses, 1);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), INT_VRING | INT_CONFIG);
  driver.write(REG.INTERRUPT_ACK, INT_CONFIG);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), INT_VRING);
  assert.deepEqual(guestErrors, ['stub: a descriptor loop']);
  driver.addStatus(S_FAILED);
  assert.equal(driver.status, ALL_SET | S_NEEDS_RESET | S_FAILED);
});

test('what an old activation reports does not reach the new one', async () => {
  const { driver, device, interrupt } = await setUpLive();
  await driver.negotiate();
  driver.driverOk();
  device.activations[0]?.needsReset('late');
  device.activations[0]?.configChanged();
  assert.equal(driver.status, ALL_SET);
  assert.equal(interrupt.pulses, 0);
  device.activations[1]?.needsReset('now');
  assert.equal(driver.status, ALL_SET | S_NEEDS_RESET);
});

test('reset with requests in flight: the status reads 0 only when the device has stopped', async () => {
  const { driver, device, bank, transport } = await setUpLive();
  const { promise, resolve } = Promise.withResolvers<void>();
  device.inFlight = promise;
  let done = false;
  const reset = driver.write(REG.STATUS, 0);
  assert.ok(reset instanceof Promise, 'the vCPU waits');
  const waited = reset.then(() => {
    done = true;
  });
  // Another vCPU meanwhile: a request completes, and everything that the driver tries is refused.
  Atomics.or(bank.words, MMIO_INTERRUPT_STATUS_WORD, INT_VRING);
  assert.equal(driver.status, ALL_SET);
  driver.write(REG.STATUS, S_ACKNOWLEDGE);
  driver.write(REG.STATUS, ALL_SET);
  device.activations[0]?.needsReset('while it resets');
  assert.equal(driver.status, ALL_SET);
  const second = driver.write(REG.STATUS, 0);
  const third = transport.reset();
  await new Promise((next) => setImmediate(next));
  assert.equal(done, false);
  resolve();
  await Promise.all([waited, second, third]);
  assert.equal(device.resets, 1, 'resets join');
  assert.equal(driver.status, 0);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), 0);
  driver.write(REG.QUEUE_SEL, 1);
  assert.equal(driver.read(REG.QUEUE_READY), 0);
  assert.ok(await driver.negotiate());
});

test('a reset of a device that is not in service is done at once', () => {
  const { driver, device } = setUp();
  driver.addStatus(S_ACKNOWLEDGE);
  assert.equal(driver.write(REG.STATUS, 0), undefined);
  assert.equal(driver.status, 0);
  assert.equal(device.resets, 0);
});

test('configuration space: reads of any natural width, writes go to the device', async () => {
  const { driver, device, bank } = await setUpLive();
  device.config.set({ offset: 0, width: 8 }, 0x0102_0304_0506);
  assert.equal(bank.guestRead(0x100, 4), 0x0304_0506);
  assert.equal(bank.guestRead(0x104, 2), 0x0102);
  assert.equal(bank.guestRead(0x101, 1), 0x05);
  assert.equal(bank.guestRead(0x108, 4), 0, 'past its end');
  assert.equal(bank.guestRead(0xffc, 4), 0);
  bank.guestWrite(0x102, 0x77, 1);
  assert.deepEqual(device.configWrites, [[2, 1, 0x77]]);
  assert.equal(driver.status, ALL_SET);
});

test('a change of the configuration changes its generation and interrupts a live driver', async () => {
  const { driver, device, interrupt } = await setUpLive();
  const before = driver.read(REG.CONFIG_GENERATION);
  device.config.set({ offset: 4, width: 2 }, 7);
  device.activations[0]?.configChanged();
  assert.notEqual(driver.read(REG.CONFIG_GENERATION), before);
  assert.equal(interrupt.pulses, 1);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), INT_CONFIG);
});

test('the interrupt path wakes no script; stray notifications are counted', async () => {
  const { driver, bank, transport } = await setUpLive();
  bank.slowAccesses = 0;
  Atomics.or(bank.words, MMIO_INTERRUPT_STATUS_WORD, INT_VRING);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), INT_VRING);
  driver.write(REG.INTERRUPT_ACK, INT_VRING);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), 0);
  driver.write(REG.INTERRUPT_STATUS, 3);
  assert.equal(driver.read(REG.INTERRUPT_STATUS), 0, 'it is read-only');
  assert.equal(bank.slowAccesses, 0);
  driver.write(REG.QUEUE_NOTIFY, 77);
  assert.equal(transport.statistics()['strayNotifies'], 1);
  assert.equal(transport.statistics()['requests'], 7, "the device's own counters are there too");
});
