import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PciConfigSpace } from '../../../../vmm/devices/pci/config-space.ts';
import {
  CONFIG_PORTS_BANK,
  ECAM_BANK,
  type PciFunction,
  PciRootBus,
} from '../../../../vmm/devices/pci/root-bus.ts';
import { FakeRegisterBank } from '../../../support/fake-register-bank.ts';
import { hostilePci } from '../../../support/hostile-pci.ts';
import { PciDriver, WINDOW_GPA } from '../../../support/pci-driver.ts';

const BAR_BYTES = 0x8000;

class StubFunction implements PciFunction {
  readonly config = new PciConfigSpace({ vendorId: 0x1234, deviceId: 0x5678, classCode: 0xff0000 });
  readonly barBytes = BAR_BYTES;
  readonly writes: [offset: number, width: number, value: number][] = [];
  readonly #name: number;

  constructor(gpa: number, name: number) {
    this.config.setBar0(gpa, BAR_BYTES);
    this.#name = name;
  }

  readBar(): number {
    return this.#name;
  }

  writeBar(offset: number, width: number, value: number): void {
    this.writes.push([offset, width, value]);
  }
}

function setUp() {
  const bus = new PciRootBus(WINDOW_GPA, new FakeRegisterBank(CONFIG_PORTS_BANK));
  const functions = [1, 2].map((slot) => {
    const stub = new StubFunction(WINDOW_GPA + slot * BAR_BYTES, slot);
    bus.attach(slot, stub);
    return stub;
  });
  return { bus, functions, first: new PciDriver(bus, 1), second: new PciDriver(bus, 2) };
}

test('ECAM and the ports show the same functions; elsewhere all bits read 1', () => {
  const { bus } = setUp();
  const found: string[] = [];
  for (let device = 0; device < 256; device++) {
    for (let register = 0; register < 256; register += 4) {
      const byEcam = bus.ecamHandler.read((device << 12) + register, 4);
      bus.portsHandler.write(0, 4, 0x8000_0000 + (device << 8) + register);
      assert.equal(bus.portsHandler.read(4, 4), byEcam);
      if (register === 0 && byEcam !== 0xffff_ffff) found.push(`${device}: ${byEcam.toString(16)}`);
    }
  }
  assert.deepEqual(found, ['0: 81b36', '8: 56781234', '16: 56781234']);
});

test('ports: only 32-bit writes select, a disabled or foreign address reaches nothing', () => {
  const { bus } = setUp();
  const { portsHandler: ports } = bus;
  ports.write(0, 4, 0x8000_0800);
  ports.write(0, 2, 0);
  ports.write(1, 1, 0xff);
  assert.equal(ports.read(0, 4), 0x8000_0800);
  assert.equal(ports.read(0, 1), 0xff);
  assert.equal(ports.read(4, 2), 0x1234);
  assert.equal(ports.read(6, 2), 0x5678);
  for (const address of [0x0000_0800, 0x8001_0800, 0x80ff_0800, 0x8000_ff00]) {
    ports.write(0, 4, address);
    assert.equal(ports.read(4, 4), 0xffff_ffff, address.toString(16));
    ports.write(4, 4, 0);
  }
});

test('a driver learns the size of a BAR, and what is read-only stays', async () => {
  const { first, functions } = setUp();
  const { bar } = first;
  await first.writeConfig(0x10, 4, 0xffff_ffff);
  assert.equal(first.readConfig(0x10, 4), 0xffff_8000);
  await first.writeConfig(0x10, 4, bar);
  const before = Array.from({ length: 64 }, (_, i) => first.readConfig(4 * i, 4));
  for (let register = 0; register < 256; register += 4) {
    await first.writeConfig(register, 4, 0xffff_ffff);
  }
  for (let register = 0; register < 256; register += 4) await first.writeConfig(register, 4, 0);
  await first.writeConfig(0x10, 4, bar);
  const after = Array.from({ length: 64 }, (_, i) => first.readConfig(4 * i, 4));
  assert.deepEqual(after, before);
  assert.deepEqual(functions[0]?.writes, []);
});

test('config space of every width: bytes of a register agree, illegal accesses do nothing', async () => {
  const { bus, first } = setUp();
  for (let register = 0; register < 0x1000; register += 4) {
    const word = first.readConfig(register, 4);
    if (register >= 256) assert.equal(word, 0);
    for (let byte = 0; byte < 4; byte++) {
      assert.equal(first.readConfig(register + byte, 1), (word >>> (8 * byte)) & 0xff);
    }
    assert.equal(first.readConfig(register + 2, 2), word >>> 16);
    for (const odd of [1, 3]) {
      assert.equal(first.readConfig(register + odd, 2), 0xffff);
      assert.equal(first.readConfig(register + odd, 4), 0xffff_ffff);
      await first.writeConfig(register + odd, 4, 0x1234_5678);
    }
    assert.equal(first.readConfig(register, 4), word);
  }
  assert.equal(bus.ecamHandler.read(ECAM_BANK.lengthBytes - 4, 4), 0xffff_ffff);
});

test('BARs moved, switched off, overlapping and out of the window', async () => {
  const { bus, first, second, functions } = setUp();
  const read = (gpa: number) => bus.windowHandler.read(gpa - WINDOW_GPA, 4);
  const [at, other] = [first.bar, second.bar];
  assert.equal(read(at), 0xffff_ffff, 'not decoded yet');
  await first.enable();
  await second.enable();
  assert.deepEqual([read(at), read(at + BAR_BYTES - 4), read(other)], [1, 1, 2]);
  // Moved to where nothing is.
  const free = WINDOW_GPA + 0x80_0000;
  await first.writeConfig(0x10, 4, free + 0x123);
  assert.deepEqual([read(at), read(free), read(free + BAR_BYTES)], [0xffff_ffff, 1, 0xffff_ffff]);
  // Over the other one: the lower slot answers.
  await first.writeConfig(0x10, 4, other);
  assert.equal(read(other), 1);
  // An access that crosses the end belongs to nobody.
  assert.equal(bus.windowHandler.read(other - WINDOW_GPA + BAR_BYTES - 2, 4), 0xffff_ffff);
  for (const { name, gpa } of hostilePci().places) {
    await first.writeConfig(0x10, 4, gpa);
    assert.equal(read(other), 2, name);
  }
  await second.writeConfig(4, 2, 0);
  assert.equal(read(other), 0xffff_ffff);
  await bus.windowHandler.write(other - WINDOW_GPA, 4, 5);
  assert.deepEqual(functions[1]?.writes, []);
});

test('the bus’s state survives a save and a load', async () => {
  const { bus } = setUp();
  bus.portsHandler.write(0, 4, 0x8000_0004);
  bus.portsHandler.write(4, 4, 0x0000_0006);
  const copy = setUp().bus;
  copy.load(bus.save());
  assert.equal(copy.portsHandler.read(0, 4), 0x8000_0004);
  assert.equal(copy.portsHandler.read(4, 2), 6);
  assert.deepEqual(copy.save(), bus.save());
});

test('a slot that was emptied shows nothing, by ECAM, ports and the window; another device can have it', () => {
  const { bus, first, second } = setUp();
  bus.detach(1);
  assert.equal(first.readConfig(0, 4), 0xffff_ffff);
  assert.equal(bus.windowHandler.read(BAR_BYTES, 4), 0xffff_ffff);
  assert.equal(second.readConfig(0, 4), 0x5678_1234);
  bus.attach(1, new StubFunction(WINDOW_GPA + BAR_BYTES, 7));
  assert.equal(first.readConfig(0, 4), 0x5678_1234);
});

test('of a device that was pulled out, the registers read 0 until its driver lets go of it', async () => {
  const { bus, first, second, functions } = setUp();
  for (const driver of [first, second]) await driver.enable();
  bus.pullOut(1);
  assert.equal(first.readConfig(0, 4), 0xffff_ffff);
  for (const width of [1, 2, 4]) assert.equal(bus.windowHandler.read(BAR_BYTES, width), 0);
  await bus.windowHandler.write(BAR_BYTES, 4, 1);
  assert.deepEqual(functions[0]?.writes, []);
  assert.equal(bus.windowHandler.read(2 * BAR_BYTES, 4), 2);
  assert.equal(bus.windowHandler.read(0, 4), 0xffff_ffff);
  bus.detach(1);
  assert.equal(bus.windowHandler.read(BAR_BYTES, 4), 0xffff_ffff);
  bus.pullOut(9);
});
