/** The saved state of each device: loaded into another one it is the same, and damaged it is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeviceState, StateValue } from '../../../vmm/devices/device-state.ts';
import { CMOS_BANK, CmosRtc } from '../../../vmm/devices/legacy/cmos-rtc.ts';
import { PVPANIC_BANK, Pvpanic } from '../../../vmm/devices/legacy/pvpanic.ts';
import { Serial16550 } from '../../../vmm/devices/legacy/serial-16550.ts';
import { SERIAL_BANK } from '../../../vmm/devices/legacy/serial-registers.ts';
import type { MachineDevice } from '../../../vmm/devices/machine-device.ts';
import { MMIO_BANK, MmioTransport } from '../../../vmm/devices/virtio/transport/mmio.ts';
import { TsvmError } from '../../../vmm/errors.ts';
import { FakeInterruptLine, FakeRegisterBank } from '../../support/fake-register-bank.ts';
import { MmioDriver, REG } from '../../support/mmio-driver.ts';
import { StubVirtioDevice } from '../../support/stub-virtio-device.ts';

function makeSerial() {
  const bank = new FakeRegisterBank(SERIAL_BANK);
  const interrupt = new FakeInterruptLine();
  let text = '';
  const serial = new Serial16550({
    bank,
    interrupt,
    output: {
      write: (bytes) => {
        text += Buffer.from(bytes).toString('latin1');
        return false;
      },
      onceDrained: () => new Promise(() => {}),
    },
    onReceiveSpace: () => {},
    onOutputFailure: (error) => assert.fail(String(error)),
  });
  bank.connect(serial, interrupt);
  return { device: serial, bank, interrupt, text: () => text };
}

function makeRtc(nowMs: number) {
  const bank = new FakeRegisterBank(CMOS_BANK);
  const options = { now: () => nowMs, lowMemoryEnd: 2 ** 27, highMemoryBytes: 0 };
  const device = new CmosRtc({ bank, ...options });
  bank.connect(device);
  return { device, bank };
}

function makeMmio() {
  const bank = new FakeRegisterBank(MMIO_BANK);
  const interrupt = new FakeInterruptLine();
  const virtio = new StubVirtioDevice();
  const device = new MmioTransport({ device: virtio, bank, interrupt, onGuestError: () => {} });
  bank.connect(device);
  return { device, bank, interrupt, virtio, driver: new MmioDriver(bank) };
}

/** A transport whose driver has put queue 1 into service. */
async function makeLiveMmio() {
  const made = makeMmio();
  assert.ok(await made.driver.negotiate());
  const ring = { size: 32, descriptorGpa: 0x1_0000_1000, availableGpa: 0x2000, usedGpa: 0x3000 };
  made.driver.setUpQueue(1, ring);
  made.driver.driverOk();
  return made;
}

/** A serial port in the middle of everything: input of all kinds, output that nobody takes. */
function makeBusySerial() {
  const made = makeSerial();
  const { device, bank } = made;
  device.resume();
  for (const [register, value] of [
    [7, 0xa5],
    [2, 0x81],
    [3, 0x83],
    [0, 0x0c],
    [1, 0x34],
    [3, 0x03],
    [4, 0x0b],
    [1, 0x07],
  ] as const) {
    bank.guestWrite(register, value);
  }
  bank.guestWrite(0, 0x41);
  device.poll();
  bank.guestWrite(0, 0x42);
  device.receive(Buffer.from('more than sixteen bytes of input'));
  device.quiesce();
  return made;
}

test('serial: registers, input in the FIFO and before it, and output that nobody has taken', () => {
  const { device, text } = makeBusySerial();
  assert.equal(text(), 'A');
  const saved = device.save();
  assert.deepEqual(device.save(), saved, 'to save changes nothing');
  assert.equal(Buffer.from(saved['output'] as Uint8Array).toString(), 'B');
  const next = makeSerial();
  next.device.load(saved);
  assert.deepEqual(next.device.save(), saved);
  next.device.resume();
  assert.ok(next.interrupt.take() > 0, 'its input is an interrupt again');
  assert.equal(next.text(), 'B');
  let input = '';
  while (next.bank.guestRead(5) & 1) input += String.fromCharCode(next.bank.guestRead(0));
  assert.equal(input, 'more than sixteen bytes of input');
  assert.equal(next.bank.guestRead(7), 0xa5);
  next.bank.guestWrite(3, 0x83);
  assert.deepEqual([next.bank.guestRead(0), next.bank.guestRead(1)], [0x0c, 0x34]);
});

test('serial: a quiesced port holds input back, and gives it to the guest afterwards', () => {
  const { device, bank, interrupt } = makeSerial();
  device.resume();
  bank.guestWrite(1, 0x01);
  device.quiesce();
  interrupt.take();
  assert.equal(device.receive(Buffer.from('x')), false);
  assert.equal(interrupt.take(), 0);
  assert.equal(bank.guestRead(5) & 1, 0);
  device.resume();
  assert.equal(interrupt.take() > 0, true);
  assert.equal(bank.guestRead(0), 0x78);
});

test('rtc: the guest’s own time and its RAM; the clock keeps running while the machine is saved', () => {
  const first = makeRtc(Date.parse('2024-01-01T00:00:00Z'));
  const write = (register: number, value: number) => {
    first.bank.guestWrite(0, register);
    first.bank.guestWrite(1, value);
  };
  write(4, 0x12);
  write(0x40, 0x77);
  const saved = first.device.save();
  const second = makeRtc(Date.parse('2024-01-01T00:30:00Z'));
  second.device.load(saved);
  const read = (register: number) => {
    second.bank.guestWrite(0, register);
    return second.bank.guestRead(1);
  };
  assert.equal(second.bank.guestRead(1), 0x77, 'the index is kept');
  assert.deepEqual([read(4), read(2)], [0x12, 0x30]);
});

test('virtio-mmio: the driver’s features, queues and status; what was in service is again', async () => {
  const { device, bank } = await makeLiveMmio();
  bank.guestWrite(REG.QUEUE_SEL, 1, 4);
  Atomics.or(bank.words, 0, 1);
  await device.quiesce();
  const saved = device.save();
  const next = makeMmio();
  next.device.load(saved);
  assert.equal(next.virtio.activations.length, 0, 'not before it is resumed');
  assert.deepEqual(next.device.save(), saved);
  next.device.resume();
  const [activation] = next.virtio.activations;
  assert.equal(activation?.features, next.virtio.features);
  assert.deepEqual(
    activation?.queues.map(({ index, descriptorGpa }) => [index, descriptorGpa]),
    [[1, 0x1_0000_1000]],
  );
  assert.equal(next.interrupt.take(), 1, 'an interrupt that was not acknowledged comes again');
});

test('virtio-mmio: a pause stops what is in service and nothing else; so does its end', async () => {
  const idle = makeMmio();
  await idle.device.quiesce();
  idle.device.resume();
  assert.deepEqual([idle.virtio.quiesces, idle.virtio.activations.length], [0, 0]);
  const live = await makeLiveMmio();
  await live.device.quiesce();
  assert.equal(live.virtio.quiesces, 1);
  live.device.resume();
  assert.equal(live.virtio.activations.length, 2);
  live.virtio.activations[0]?.needsReset('too late');
  assert.equal(live.driver.status & 0x40, 0, 'what the old activation reports does not count');
  live.virtio.activations[1]?.needsReset('broken');
  await live.device.quiesce();
  live.device.resume();
  assert.equal(live.virtio.activations.length, 2, 'a device that needs a reset is not started');
  assert.equal(live.driver.status & 0x40, 0x40);
});

/** Every way to damage one field of a record, however deep. */
function* damaged(state: { readonly [name: string]: StateValue }): Generator<[string, object]> {
  for (const [name, value] of Object.entries(state)) {
    const { [name]: _, ...without } = state;
    yield [`without ${name}`, without];
    for (const bad of [null, undefined, 'text', -1, 0.5, Number.NaN, 2 ** 53, [], {}]) {
      yield [`${name} = ${String(bad)}`, { ...state, [name]: bad }];
    }
    if (typeof value !== 'object' || value instanceof Uint8Array) continue;
    if (Array.isArray(value)) {
      yield [`${name} too long`, { ...state, [name]: [...value, value[0]] }];
      for (const [how, part] of damaged(value[0] as { [name: string]: StateValue })) {
        yield [`${name}[0] ${how}`, { ...state, [name]: [part, ...value.slice(1)] }];
      }
    } else {
      for (const [how, part] of damaged(value as { [name: string]: StateValue })) {
        yield [`${name} ${how}`, { ...state, [name]: part }];
      }
    }
  }
}

test('a damaged state is refused by name, whichever field it is', async () => {
  const live = await makeLiveMmio();
  await live.device.quiesce();
  const pvpanic = new Pvpanic(new FakeRegisterBank(PVPANIC_BANK), () => {});
  const devices: readonly [MachineDevice, () => MachineDevice][] = [
    [makeBusySerial().device, () => makeSerial().device],
    [makeRtc(0).device, () => makeRtc(0).device],
    [live.device, () => makeMmio().device],
    [pvpanic, () => pvpanic],
  ];
  let count = 0;
  for (const [source, make] of devices) {
    for (const [how, state] of damaged(source.save())) {
      // An offset may be negative or a fraction.
      if (/^offsetMs = (-1|0.5)$/.test(how)) continue;
      assert.throws(
        () => make().load(state as DeviceState),
        (error) =>
          error instanceof TsvmError &&
          error.code === 'invalid-state' &&
          error.message.includes(`the saved state of ${source.id}`),
        `${source.id}: ${how}`,
      );
      count += 1;
    }
    for (const state of [undefined, null, 7, 'state', []]) {
      assert.throws(() => make().load(state as unknown as DeviceState), /invalid|cannot be loaded/);
    }
  }
  assert.ok(count > 300, `${count} damages`);
});

test('states that no device can be in are refused', async () => {
  const { device } = await makeLiveMmio();
  await device.quiesce();
  const saved = device.save();
  const common = saved['common'] as { readonly [name: string]: StateValue };
  const refused = (change: { readonly [name: string]: StateValue }) =>
    assert.throws(() => makeMmio().device.load({ ...saved, common: { ...common, ...change } }));
  for (const status of [2, 4, 8, 7, 16, 0x40, 0xff]) refused({ status });
  refused({ driverFeatures: { low: 0xffff_ffff, high: 1 } });
  refused({ driverFeatures: { low: 0, high: 0 } });
  const config = common['config'] as { readonly [name: string]: StateValue };
  refused({ config: { ...config, bytes: new Uint8Array(8).fill(1) } });
});
