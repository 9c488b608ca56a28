import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PciHotplug } from '../../../../vmm/devices/pci/hotplug.ts';

const ADDED = 0;
const LEAVING = 4;
const EJECT = 8;

function setUp() {
  const log = { pulses: 0, ejected: [] as number[] };
  const hotplug = new PciHotplug({
    interrupt: {
      pulse: () => {
        log.pulses += 1;
      },
    },
    onEject: (slot) => {
      log.ejected.push(slot);
    },
  });
  return { hotplug, log };
}

test('a guest learns of devices by an interrupt, once each', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { hotplug, log } = setUp();
  hotplug.resume();
  assert.equal(log.pulses, 0);
  hotplug.announce(2);
  hotplug.announce(31);
  hotplug.requestEjection(5);
  assert.equal(log.pulses, 3);
  assert.equal(hotplug.read(ADDED, 4), 0x8000_0004);
  assert.equal(hotplug.read(LEAVING, 4), 0x20);
  assert.deepEqual([hotplug.read(ADDED, 4), hotplug.read(LEAVING, 4)], [0, 0]);
  t.mock.timers.tick(10_000);
  assert.equal(log.pulses, 3);
});

test('a guest that does not listen yet is reminded, but not for ever', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { hotplug, log } = setUp();
  hotplug.resume();
  hotplug.announce(2);
  const wait = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 100) t.mock.timers.tick(100);
  };
  wait(2_000);
  assert.equal(log.pulses, 5);
  wait(1_000_000);
  assert.equal(log.pulses, 241);
  hotplug.requestEjection(2);
  assert.equal(log.pulses, 242);
  hotplug.forget(2);
  wait(2_000);
  assert.deepEqual([log.pulses, hotplug.read(ADDED, 4), hotplug.read(LEAVING, 4)], [242, 0, 0]);
});

test('while it is quiesced nothing interrupts the guest; a load goes on where the save was', async () => {
  const { hotplug, log } = setUp();
  hotplug.announce(3);
  hotplug.requestEjection(4);
  assert.equal(log.pulses, 0);
  const copy = setUp();
  copy.hotplug.load(hotplug.save());
  assert.deepEqual(copy.hotplug.save(), hotplug.save());
  copy.hotplug.resume();
  assert.equal(copy.log.pulses, 1);
  assert.equal(copy.hotplug.read(ADDED, 4), 8);
  await copy.hotplug.close();
  for (const hostile of [
    { ...hotplug.save(), added: -1 },
    { ...hotplug.save(), leaving: 2 ** 32 },
    { ...hotplug.save(), version: 2 },
  ]) {
    assert.throws(() => setUp().hotplug.load(hostile), { code: 'invalid-state' });
  }
});

test('only one slot is ejected at a time, by one kind of access; others are counted', () => {
  const { hotplug, log } = setUp();
  for (const [offset, width, value] of [
    [EJECT, 4, 0],
    [EJECT, 4, 3],
    [EJECT, 4, 0xffff_ffff],
    [EJECT, 2, 2],
    [EJECT, 1, 2],
    [ADDED, 4, 2],
    [LEAVING, 4, 2],
    [9, 4, 2],
  ] as const) {
    hotplug.write(offset, width, value);
  }
  assert.deepEqual(log.ejected, []);
  hotplug.write(EJECT, 4, 0x8000_0000);
  // As JavaScript has the highest bit of a 32-bit integer.
  hotplug.write(EJECT, 4, 0x8000_0000 | 0);
  hotplug.write(EJECT, 4, 2);
  assert.deepEqual(log.ejected, [31, 31, 1]);
  for (const [offset, width] of [
    [EJECT, 4],
    [ADDED, 2],
    [1, 1],
    [LEAVING, 1],
  ] as const) {
    assert.equal(hotplug.read(offset, width), 0);
  }
  assert.deepEqual(hotplug.statistics(), { ejections: 3, ignoredReads: 4, ignoredWrites: 8 });
});
