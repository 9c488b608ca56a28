import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PCI_BAR_SIZE } from '../../../../../vmm/arch/x86_64/layout.ts';
import { CONFIG_PORTS_BANK, PciRootBus } from '../../../../../vmm/devices/pci/root-bus.ts';
import { PciTransport } from '../../../../../vmm/devices/virtio/transport/pci.ts';
import {
  BAR_BYTES,
  CapabilityType,
  CommonRegister as R,
} from '../../../../../vmm/devices/virtio/transport/pci-registers.ts';
import { FakeRegisterBank } from '../../../../support/fake-register-bank.ts';
import { PciDriver, WINDOW_GPA } from '../../../../support/pci-driver.ts';
import { Random } from '../../../../support/random.ts';
import { StubVirtioDevice } from '../../../../support/stub-virtio-device.ts';

const FEATURES_OK = 8;
const DRIVER_OK = 4;
const NO_VECTOR = 0xffff;
const MSIX_TABLE = 0x4000;

function setUp() {
  const device = new StubVirtioDevice();
  const log: string[] = [];
  const messages = [0, 1, 2].map((vector) => ({
    setMessage: (message: { readonly data: number } | undefined) => {
      log.push(`${vector} ${message?.data ?? 'none'}`);
    },
    pulse: () => {
      log.push(`${vector} pulse`);
    },
  }));
  const kicks: number[] = [];
  const places: (number | undefined)[] = [];
  const guestErrors: string[] = [];
  const transport = new PciTransport({
    device,
    messages,
    placeKicks: (bar) => places.push(bar),
    kick: (queue) => kicks.push(queue),
    barGpa: WINDOW_GPA + BAR_BYTES,
    onGuestError: (reason) => guestErrors.push(reason),
  });
  const bus = new PciRootBus(WINDOW_GPA, new FakeRegisterBank(CONFIG_PORTS_BANK));
  bus.attach(1, transport);
  const driver = new PciDriver(bus, 1);
  return { device, transport, bus, driver, kicks, places, guestErrors, take: () => log.splice(0) };
}

/** What Linux's virtio_pci_modern does, with a vector for the configuration and one for queue 1. */
async function setUpLive() {
  const all = setUp();
  const { driver } = all;
  await driver.enable();
  await driver.enableMsix();
  const write = (register: number, width: number, value: number) =>
    driver.write(register, width, value);
  for (const status of [0, 1, 3]) await write(R.DeviceStatus, 1, status);
  for (const word of [0, 1]) {
    await write(R.DeviceFeatureSelect, 4, word);
    await write(R.DriverFeatureSelect, 4, word);
    await write(R.DriverFeature, 4, driver.read(R.DeviceFeature, 4));
  }
  await write(R.DeviceStatus, 1, 3 | FEATURES_OK);
  assert.equal(driver.read(R.DeviceStatus, 1), 3 | FEATURES_OK);
  for (const [vector, data] of [
    [0, 70],
    [2, 72],
  ] as const) {
    await driver.write(MSIX_TABLE + 16 * vector, 4, 0xfee0_0000);
    await driver.write(MSIX_TABLE + 16 * vector + 8, 4, data);
    await driver.write(MSIX_TABLE + 16 * vector + 12, 4, 0);
  }
  await write(R.ConfigVector, 2, 0);
  await write(R.QueueSelect, 2, 1);
  assert.equal(driver.read(R.QueueSize, 2), 32);
  await write(R.QueueVector, 2, 2);
  await write(R.QueueDescriptorLow, 4, 0x1000);
  await write(R.QueueDriverLow, 4, 0x2000);
  await write(R.QueueDeviceLow, 4, 0x3000);
  await write(R.QueueEnable, 2, 1);
  await write(R.DeviceStatus, 1, 3 | FEATURES_OK | DRIVER_OK);
  return all;
}

test('a driver that does what Linux does gets a device in service, with its vectors', async () => {
  const { device, driver, take } = await setUpLive();
  assert.equal(driver.readConfig(2, 2), 0x1040 + 42);
  assert.equal(device.activations.length, 1);
  assert.deepEqual(device.activations[0]?.queues, [
    {
      index: 1,
      size: 32,
      descriptorGpa: 0x1000,
      availableGpa: 0x2000,
      usedGpa: 0x3000,
      interrupt: 2,
    },
  ]);
  assert.deepEqual(take(), ['0 70', '2 72'], 'no interrupt of its own accord');
  device.activations[0]?.configChanged();
  assert.deepEqual(take(), ['0 pulse']);
  assert.equal(driver.read(driver.structure(CapabilityType.Isr).offset, 1), 2);
  assert.equal(driver.read(driver.structure(CapabilityType.Isr).offset, 1), 0, 'a read clears it');
});

test('the structures are in the BAR and do not overlap; a device has one part of the window', () => {
  const { driver } = setUp();
  const types = [CapabilityType.Common, CapabilityType.Notify, CapabilityType.Isr];
  const places = [...types, CapabilityType.Device].map((type) => driver.structure(type));
  places.sort((a, b) => a.offset - b.offset);
  for (const [index, { offset, length }] of places.entries()) {
    assert.ok(offset + length <= (places[index + 1]?.offset ?? MSIX_TABLE));
  }
  assert.equal(BAR_BYTES, PCI_BAR_SIZE);
});

test('vectors that there are not read back as none; after DRIVER_OK a queue keeps its own', async () => {
  const { driver } = await setUpLive();
  await driver.write(R.ConfigVector, 2, 3);
  assert.equal(driver.read(R.ConfigVector, 2), NO_VECTOR);
  await driver.write(R.QueueVector, 2, 0);
  assert.equal(driver.read(R.QueueVector, 2), 2);
  await driver.write(R.QueueSelect, 2, 9);
  assert.equal(driver.read(R.QueueVector, 2), NO_VECTOR);
  assert.equal(driver.read(R.QueueSize, 2), 0);
});

test('a queue without a vector is served without interrupts', async () => {
  const { device, driver } = await setUpLive();
  await driver.write(R.DeviceStatus, 1, 0);
  assert.equal(driver.read(R.QueueVector, 2), NO_VECTOR, 'a reset takes the vectors');
  for (const status of [1, 3]) await driver.write(R.DeviceStatus, 1, status);
  await driver.write(R.DriverFeatureSelect, 4, 1);
  await driver.write(R.DriverFeature, 4, 1);
  await driver.write(R.DeviceStatus, 1, 3 | FEATURES_OK);
  await driver.write(R.QueueSelect, 2, 1);
  await driver.write(R.QueueEnable, 2, 1);
  await driver.write(R.DeviceStatus, 1, 3 | FEATURES_OK | DRIVER_OK);
  assert.equal(device.activations[1]?.queues[0]?.interrupt, null);
});

test('kicks also arrive when a driver has moved the BAR', async () => {
  const { driver, kicks } = await setUpLive();
  await driver.writeConfig(0x10, 4, WINDOW_GPA + 0x70_0000);
  const { offset } = driver.structure(CapabilityType.Notify);
  await driver.write(offset + 4, 2, 1);
  assert.deepEqual(kicks, [1]);
});

test('the kicks are where the BAR is when the device goes into service, and after a load', async () => {
  const { driver, places, transport } = await setUpLive();
  assert.deepEqual(places, [WINDOW_GPA + BAR_BYTES]);
  await driver.writeConfig(0x10, 4, WINDOW_GPA + 0x70_0000);
  assert.equal(places.length, 1, 'a move alone costs no system call, however often');
  const copy = setUp();
  copy.transport.load(transport.save());
  copy.transport.resume();
  assert.deepEqual(copy.places, [WINDOW_GPA + 0x70_0000]);
  await driver.writeConfig(4, 2, 0);
  await transport.writeBar(R.DeviceStatus, 1, 0);
  for (const status of [1, 3, 7]) await transport.writeBar(R.DeviceStatus, 1, status);
  assert.equal(places.at(-1), undefined, 'a BAR that is not decoded is nowhere');
});

test('the configuration space reaches the BAR as firmware needs it, within its bounds', async () => {
  const { driver } = setUp();
  const at = driver.capabilities(9).find((each) => driver.readConfig(each + 3, 1) === 5) ?? 0;
  const select = async (bar: number, offset: number, length: number) => {
    await driver.writeConfig(at + 4, 1, bar);
    await driver.writeConfig(at + 8, 4, offset);
    await driver.writeConfig(at + 12, 4, length);
  };
  await select(0, R.DeviceStatus, 1);
  await driver.writeConfig(at + 16, 4, 1);
  assert.equal(driver.readConfig(at + 16, 4) & 0xff, 1);
  await select(0, R.NumQueues, 2);
  assert.equal(driver.readConfig(at + 16, 4), 2);
  for (const [bar, offset, length] of [
    [1, 0, 4],
    [0, 2, 4],
    [0, 0, 3],
    [0, 0, 0xffff_ffff],
    [0, 0xffff_fffc, 4],
    [0, BAR_BYTES, 4],
  ] as const) {
    await select(bar, offset, length);
    await driver.writeConfig(at + 16, 4, 0xffff_ffff);
    driver.readConfig(at + 16, 4);
  }
  await select(0, R.DeviceStatus, 1);
  assert.equal(driver.readConfig(at + 16, 1), 1, 'nothing changed the device');
});

test('any access of any width at any time leaves a device that resets (fixed seeds)', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = new Random(seed);
    const { driver, bus, transport } = seed % 2 === 0 ? await setUpLive() : setUp();
    for (let step = 0; step < 2000; step++) {
      const width = [1, 2, 4, 8][random.below(4)] ?? 4;
      const value = random.below(3) === 0 ? 0xffff_ffff : random.below(2 ** 31);
      if (random.below(4) === 0) {
        const register = (1 << 15) + random.below(300);
        await bus.ecamHandler.write(register, Math.min(width, 4), value);
        bus.ecamHandler.read(register, Math.min(width, 4));
      } else {
        const offset = random.below(random.below(2) === 0 ? 0x80 : BAR_BYTES + 16);
        await transport.writeBar(offset, Math.min(width, 4), value);
        transport.readBar(offset, Math.min(width, 4));
      }
    }
    await driver.enable();
    await driver.writeConfig(0x10, 4, WINDOW_GPA + BAR_BYTES);
    await driver.write(R.DeviceStatus, 1, 0);
    assert.equal(driver.read(R.DeviceStatus, 1), 0, `seed ${seed}`);
  }
});

test('a device in service survives a save and a load', async () => {
  const { transport, take } = await setUpLive();
  take();
  const copy = setUp();
  copy.transport.load(transport.save());
  assert.deepEqual(copy.transport.save(), transport.save());
  // An interrupt of a queue may have been on its way.
  assert.deepEqual(copy.take(), ['0 70', '2 72', '2 pulse']);
  copy.transport.resume();
  assert.equal(copy.device.activations[0]?.queues[0]?.interrupt, 2);
  const hostile = transport.save();
  assert.throws(() => setUp().transport.load({ ...hostile, version: 2 }), /version 2/);
  assert.throws(() => setUp().transport.load({ ...hostile, queueSelect: -1 }), /queueSelect/);
});
