import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PciConfigSpace } from '../../../../vmm/devices/pci/config-space.ts';
import { Msix } from '../../../../vmm/devices/pci/msix.ts';
import { hostilePci } from '../../../support/hostile-pci.ts';

const ENABLE = 0x8000;
const MASK_ALL = 0x4000;

function setUp(mayHaveMissed: (vector: number) => boolean = () => false) {
  const config = new PciConfigSpace({ vendorId: 1, deviceId: 2, classCode: 0 });
  const log: string[] = [];
  const targets = [0, 1, 2].map((vector) => ({
    setMessage: (message: { address: number; data: number } | undefined) => {
      log.push(`${vector} ${message ? `${message.address.toString(16)}:${message.data}` : 'none'}`);
    },
    pulse: () => {
      log.push(`${vector} pulse`);
    },
  }));
  const msix = new Msix({
    config,
    targets,
    place: { tableOffset: 0x4000, pendingOffset: 0x6000 },
    mayHaveMissed,
  });
  const [at = 0] = [config.read(0x34, 1)];
  const control = (value: number) => {
    config.write(at + 2, 2, value);
    msix.update();
  };
  const write = (vector: number, word: number, value: number) =>
    msix.writeTable(16 * vector + 4 * word, 4, value);
  const set = (vector: number, data: number) => {
    write(vector, 0, 0xfee0_0000);
    write(vector, 1, 0);
    write(vector, 2, data);
  };
  const take = () => log.splice(0);
  return { config, msix, control, write, set, take, at };
}

test('the capability tells the size and the place of the table', () => {
  const { config, at } = setUp();
  assert.equal(config.read(at, 1), 0x11);
  assert.equal(config.get16(at + 2), 2);
  assert.equal(config.get32(at + 4), 0x4000);
  assert.equal(config.get32(at + 8), 0x6000);
});

test('a message goes out only while vector, function and MSI-X allow it', () => {
  const { control, set, write, take } = setUp();
  set(1, 33);
  write(1, 3, 0);
  assert.deepEqual(take(), [], 'MSI-X is off');
  control(ENABLE | MASK_ALL);
  assert.deepEqual(take(), []);
  control(ENABLE);
  assert.deepEqual(take(), ['1 fee00000:33']);
  write(1, 3, 1);
  assert.deepEqual(take(), ['1 none']);
  write(1, 3, 0xffff_fffe);
  assert.deepEqual(take(), ['1 fee00000:33'], 'reserved bits of the control word are ignored');
  set(1, 34);
  assert.deepEqual(take(), ['1 fee00000:34'], 'one change of the route, not three');
  control(0);
  assert.deepEqual(take(), ['1 none']);
});

test('an interrupt during a mask comes at its end, once', () => {
  const { msix, control, set, write, take } = setUp((vector) => vector === 2);
  control(ENABLE);
  set(0, 40);
  set(2, 42);
  msix.pulse(0);
  msix.pulse(0);
  assert.deepEqual(take(), []);
  write(0, 3, 0);
  assert.deepEqual(take(), ['0 fee00000:40', '0 pulse']);
  msix.pulse(0);
  assert.deepEqual(take(), ['0 pulse']);
  // A queue's worker may have sent one.
  write(2, 3, 0);
  assert.deepEqual(take(), ['2 fee00000:42', '2 pulse']);
  msix.pulse(3);
  msix.pulse(0xffff);
  assert.deepEqual(take(), []);
});

test('tables that lie: addresses beyond all memory, odd widths, accesses behind the end', () => {
  const { msix, control, write, take } = setUp();
  control(ENABLE);
  write(0, 1, 0xffff_ffff);
  write(0, 3, 0);
  assert.deepEqual(take(), []);
  msix.writeTable(0, 1, 0xff);
  msix.writeTable(2, 2, 0xff);
  msix.writeTable(48, 4, 0xff);
  msix.writeTable(0xfff0, 4, 0xff);
  assert.deepEqual([msix.readTable(0, 4), msix.readTable(48, 4), msix.readTable(4, 2)], [0, 0, 0]);
  assert.deepEqual(take(), []);
});

test('hostile entries of the table, one more than there are, name nothing but messages', () => {
  const { msix, control, set, write, take } = setUp();
  control(ENABLE);
  for (const { name, words } of hostilePci().entries) {
    for (let vector = 0; vector <= 3; vector++) {
      for (const [word, value] of words.entries()) write(vector, word, value);
      msix.pulse(vector);
    }
    for (const line of take()) assert.match(line, /^[0-2] (none|pulse|[0-9a-f]+:\d+)$/, name);
    control(ENABLE | MASK_ALL);
    control(ENABLE);
    take();
  }
  for (let vector = 0; vector < 3; vector++) write(vector, 3, 1);
  take();
  set(1, 33);
  write(1, 3, 0);
  assert.equal(take().at(0), '1 fee00000:33');
});
