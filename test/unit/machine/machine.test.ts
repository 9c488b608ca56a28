/** A machine's life without KVM: its states, its devices and its end. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { DeviceState } from '../../../vmm/devices/device-state.ts';
import type { MachineDevice } from '../../../vmm/devices/machine-device.ts';
import { TsvmError } from '../../../vmm/errors.ts';
import { Machine } from '../../../vmm/machine/machine.ts';
import { createLogger } from '../../../vmm/observability/logger.ts';
import { FakeVm } from '../../support/fake-vm.ts';

/** A device that writes down what is asked of it. */
class StubDevice implements MachineDevice {
  readonly id: string;
  readonly #calls: string[];
  /** A call of this name throws or rejects. */
  failing: string | undefined;
  /** Set: quiesce waits for it. */
  inFlight: Promise<void> | undefined;
  value = 0;

  constructor(id: string, calls: string[]) {
    this.id = id;
    this.#calls = calls;
  }

  poll(): void {
    if (this.failing === 'poll') throw new Error('poll on purpose');
  }

  completeAccesses(): void {
    this.#called('completeAccesses');
  }

  async quiesce(): Promise<void> {
    this.#called('quiesce');
    await this.inFlight;
  }

  resume(): void {
    this.#called('resume');
  }

  save(): DeviceState {
    return { version: 1, value: this.value };
  }

  load(state: DeviceState): void {
    this.value = Number(state['value']);
  }

  statistics(): Record<string, number> {
    return { value: this.value };
  }

  async close(): Promise<void> {
    this.#called('close');
  }

  #called(name: string): void {
    this.#calls.push(`${this.id} ${name}`);
    if (this.failing === name) throw new Error(`${name} on purpose`);
  }
}

function setUp(t: TestContext, cpus = 1) {
  const vm = new FakeVm(cpus);
  const { calls } = vm;
  const logged: string[] = [];
  const machine = new Machine({
    logger: createLogger('warn', (line) => logged.push(line)),
    vm,
    memory: { close: () => calls.push('memory close') },
  });
  vm.wake = () => machine.wake();
  const [a, b] = ['a', 'b'].map((id) => new StubDevice(id, calls)) as [StubDevice, StubDevice];
  machine.addDevice(a);
  machine.addDevice(b);
  t.after(() => machine.close().catch(() => {}));
  return { machine, vm, a, b, calls, logged };
}

const wrongState = (error: unknown) => error instanceof TsvmError && error.code === 'wrong-state';

test('devices are resumed before the vCPUs run, and closed in reverse after they have ended', async (t) => {
  const { machine, calls } = setUp(t);
  assert.equal(machine.state, 'created');
  machine.start();
  assert.equal(machine.state, 'running');
  await machine.close();
  assert.equal(machine.state, 'stopped');
  assert.deepEqual(await machine.ended, { reason: 'stopped' });
  assert.deepEqual(calls, [
    ...['a resume', 'b resume', 'start', 'stop', 'stop'],
    ...['b close', 'a close', 'close', 'memory close'],
  ]);
});

test('a pause: accesses are completed, the vCPUs park, then every device is quiesced', async (t) => {
  const { machine, vm, a, calls } = setUp(t, 2);
  machine.start();
  calls.length = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  a.inFlight = promise;
  let paused = false;
  const pausing = machine.pause().then(() => {
    paused = true;
  });
  assert.equal(machine.state, 'pausing');
  assert.deepEqual(calls, ['a completeAccesses', 'b completeAccesses', 'pause']);
  vm.park(0);
  await turn();
  assert.equal(calls.length, 3, 'nothing is quiesced while a vCPU runs');
  vm.park(1);
  await turn();
  assert.deepEqual(calls.slice(3), ['a quiesce', 'b quiesce']);
  assert.equal(paused, false, 'not while anything is in flight');
  resolve();
  await pausing;
  assert.equal(machine.state, 'paused');
  calls.length = 0;
  machine.resume();
  assert.deepEqual(calls, ['a resume', 'b resume', 'resume']);
});

test('a vCPU in a slow exit has not parked: it is answered first', async (t) => {
  const { machine, vm } = setUp(t);
  const answers = Promise.withResolvers<void>();
  machine.bus.attach(3, { read: () => 0x5a, write: () => answers.promise });
  machine.start();
  vm.access('write', { bank: 3, offset: 0 });
  const pausing = machine.pause();
  vm.wake();
  await turn();
  assert.equal(machine.state, 'pausing');
  assert.ok(vm.waits(), 'a write that takes its time');
  answers.resolve();
  await turn();
  assert.equal(vm.waits(), false);
  vm.access('read', { bank: 3, offset: 0 });
  vm.wake();
  assert.equal(vm.answer(), 0x5a, 'more accesses until the instruction ends');
  vm.park();
  await pausing;
  assert.equal(machine.state, 'paused');
});

test('a guest that ends during a pause: the pause reports it, and the end stays', async (t) => {
  for (const end of ['power off', 'shutdown', 'failed', 'stop'] as const) {
    const { machine, vm } = setUp(t);
    machine.bus.attach(1, { read: () => 0, write: () => machine.powerOff() });
    machine.start();
    // What the guest did is in its slot before the pause begins; the wake comes after.
    if (end === 'power off') vm.access('write', { bank: 1, offset: 0 });
    else if (end !== 'stop') vm.end(end);
    const pausing = machine.pause();
    if (end === 'stop') machine.stop();
    else setImmediate(() => vm.wake());
    await assert.rejects(pausing, wrongState, end);
    assert.equal(machine.state, 'stopped');
    const reasons = { 'power off': 'poweroff', shutdown: 'triple-fault', failed: 'failed' };
    const { reason } = await machine.ended;
    assert.equal(reason, end === 'stop' ? 'stopped' : reasons[end]);
    await machine.close();
  }
});

test('a stop while devices are being quiesced: the pause ends with them', async (t) => {
  const { machine, vm, a } = setUp(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  a.inFlight = promise;
  machine.start();
  const pausing = machine.pause();
  vm.park();
  await turn();
  machine.stop();
  resolve();
  await assert.rejects(pausing, wrongState);
});

test('a device that fails in any step of a pause ends the machine, with the reason', async (t) => {
  for (const step of ['completeAccesses', 'quiesce', 'poll', 'resume']) {
    const { machine, vm, b } = setUp(t);
    machine.start();
    b.failing = step;
    const pausing = machine.pause();
    if (machine.state === 'pausing') vm.park();
    if (step === 'resume') {
      await pausing;
      machine.resume();
      assert.equal(vm.calls.includes('resume'), false, 'no vCPU runs');
    } else {
      await assert.rejects(pausing, wrongState);
    }
    const end = await machine.ended;
    assert.match(end.reason === 'failed' ? end.message : '', new RegExp(`${step} on purpose`));
    await machine.close();
  }
});

test('a paused guest that has panicked gets enough time to print the reason', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { machine, vm } = setUp(t);
  machine.start();
  machine.panic();
  const pausing = machine.pause();
  vm.park();
  await pausing;
  t.mock.timers.tick(60_000);
  assert.equal(machine.state, 'paused');
  machine.resume();
  t.mock.timers.tick(4_000);
  assert.equal(machine.state, 'running');
  t.mock.timers.tick(1_000);
  assert.deepEqual(await machine.ended, { reason: 'panic' });
});

test('a panic is distinguished from a power-off, reset or triple fault after it', async (t) => {
  for (const end of ['powerOff', 'reset'] as const) {
    const { machine } = setUp(t);
    machine.start();
    machine.panic();
    machine[end]();
    assert.deepEqual(await machine.ended, { reason: 'panic' });
  }
  const { machine, vm } = setUp(t);
  machine.start();
  machine.panic();
  vm.end('shutdown');
  vm.wake();
  assert.deepEqual(await machine.ended, { reason: 'panic' });
});

test('every call that the machine state does not allow is refused without effect', async (t) => {
  const { machine, vm } = setUp(t);
  const refuses = async (...names: ('start' | 'pause' | 'resume' | 'saveDevices')[]) => {
    const { state } = machine;
    for (const name of names) {
      await assert.rejects(async () => machine[name](), wrongState, `${name} when ${state}`);
      assert.equal(machine.state, state);
    }
  };
  await refuses('pause', 'resume', 'saveDevices');
  machine.start();
  await refuses('start', 'resume', 'saveDevices');
  assert.throws(() => machine.loadDevices({}), wrongState);
  const pausing = machine.pause();
  await refuses('start', 'pause', 'resume', 'saveDevices');
  vm.park();
  await pausing;
  await refuses('start', 'pause');
  machine.stop();
  await refuses('start', 'pause', 'resume', 'saveDevices');
});

test('states go by the devices’ ids, to a machine with the same devices only', async (t) => {
  const { machine, vm, a, b } = setUp(t);
  machine.start();
  const pausing = machine.pause();
  vm.park();
  await pausing;
  a.value = 1;
  b.value = 2;
  const saved = machine.saveDevices();
  const next = setUp(t);
  next.machine.loadDevices(saved);
  assert.deepEqual([next.a.value, next.b.value], [1, 2]);
  const { a: alone, ...rest } = saved;
  assert.ok(alone);
  const invalid = (error: unknown) => error instanceof TsvmError && error.code === 'invalid-state';
  assert.throws(() => setUp(t).machine.loadDevices(rest), invalid);
  assert.throws(() => setUp(t).machine.loadDevices({ ...saved, c: { version: 1 } }), invalid);
});

test('a stopped machine serves no more accesses', async (t) => {
  const { machine, vm } = setUp(t, 2);
  let writes = 0;
  machine.bus.attach(1, {
    read: () => 0,
    write: () => {
      writes += 1;
    },
  });
  machine.start();
  vm.access('write', { bank: 1, offset: 0 }, 1);
  machine.stop();
  vm.wake();
  assert.equal(writes, 0);
  await machine.close();
});

test('an order to stop that fails is given again at the close, which fails but frees all', async (t) => {
  const { machine, vm, calls } = setUp(t);
  machine.start();
  vm.failing = 'stop';
  machine.stop();
  await assert.rejects(machine.close(), /stop on purpose/);
  assert.deepEqual(calls.slice(-4), ['b close', 'a close', 'close', 'memory close']);
});

test('counters are those of the vCPUs and of each device by its id', (t) => {
  const { machine, b } = setUp(t);
  b.value = 5;
  assert.deepEqual(machine.statistics(), { vcpus: { exits: 7 }, a: { value: 0 }, b: { value: 5 } });
});

test('a device that is added while the machine runs is resumed at once, and can be closed alone', async (t) => {
  const { machine, calls } = setUp(t);
  machine.start();
  calls.splice(0);
  const remove = machine.addDevice(new StubDevice('late', calls));
  assert.deepEqual(calls, ['late resume']);
  const released = Promise.withResolvers<void>();
  const release = machine.own(() => released.promise);
  const early = release();
  assert.equal(release(), early, 'once');
  await remove();
  assert.deepEqual(calls, ['late resume', 'late close']);
  assert.equal(machine.metrics().devices['late'], undefined);
  let isClosed = false;
  machine.stop();
  const closing = machine.close().then(() => {
    isClosed = true;
  });
  for (let i = 0; i < 5; i++) await turn();
  assert.equal(isClosed, false, 'the close waits for what is being released');
  released.resolve();
  await Promise.all([closing, early]);
  assert.deepEqual(
    calls.filter((call) => call.startsWith('late')),
    ['late resume', 'late close'],
  );
});
