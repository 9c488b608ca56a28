/** A network of a running machine: pause, saved state, link, rate limits. Needs passt. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { deserialize, serialize } from 'node:v8';
import type { DeviceState } from '../../../vmm/devices/device-state.ts';
import { bootAssembly } from '../../../vmm/machine/boot-machine.ts';
import type { MachineConfig } from '../../../vmm/machine/config.ts';
import type { Machine } from '../../../vmm/machine/machine.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

/** The guest sends frames as fast as they are taken, without end. */
const CONFIG: MachineConfig = {
  kernelPath: PAYLOAD,
  nets: [{ kind: 'user', mac: '52:54:00:00:00:01' }],
  appendCmdline: 'bench=net-tx size=1514 count=1000G',
  memoryBytes: 64 * 2 ** 20,
  acpi: false,
};

const PATIENCE_MS = 120_000;
const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function boot(t: TestContext): Promise<Machine> {
  const { machine } = await bootAssembly(CONFIG, {});
  t.after(() => machine.close());
  return machine;
}

function counter(machine: Machine, name: string): number {
  return machine.statistics()['net0']?.[name] ?? 0;
}

/** Waits until a counter has grown by `by`. */
async function grows(machine: Machine, name: string, by = 1000): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  for (const goal = counter(machine, name) + by; counter(machine, name) < goal; await tick(5)) {
    assert.ok(performance.now() < end, `${name} does not grow`);
  }
}

test('a pause amid frames, the saved state in another machine, and the first goes on', async (t) => {
  const machine = await boot(t);
  machine.start();
  await grows(machine, 'sentFrames');
  await machine.pause();
  const saved = machine.saveDevices();
  const sent = counter(machine, 'sentFrames');
  await tick(50);
  assert.equal(counter(machine, 'sentFrames'), sent, 'nothing is sent during a pause');
  assert.deepEqual(machine.saveDevices(), saved);

  const other = await boot(t);
  other.loadDevices(deserialize(serialize(saved)) as Record<string, DeviceState>);
  other.start();
  await grows(other, 'sentFrames');

  machine.resume();
  await grows(machine, 'sentFrames');
});

test('the cable is unplugged and plugged in again while frames are sent', async (t) => {
  const machine = await boot(t);
  const net = machine.controls.nets.get('net0');
  machine.start();
  await grows(machine, 'sentFrames');
  assert.equal(counter(machine, 'sendDrops'), 0);
  net?.setLink(false);
  await grows(machine, 'sendDrops');
  const sent = counter(machine, 'sentFrames');
  await grows(machine, 'sendDrops');
  assert.equal(counter(machine, 'sentFrames'), sent);
  net?.setLink(true);
  await grows(machine, 'sentFrames');
});

test('a rate limit is set and removed while frames are sent', async (t) => {
  const machine = await boot(t);
  const net = machine.controls.nets.get('net0');
  machine.start();
  await grows(machine, 'sentFrames');
  assert.equal(counter(machine, 'sendRateDelays'), 0);
  const startMs = performance.now();
  net?.setRateLimits({ operationsPerSecond: 200, burstOperations: 1 });
  const before = counter(machine, 'sentFrames');
  await grows(machine, 'sendRateDelays', 20);
  const frames = counter(machine, 'sentFrames') - before;
  const seconds = (performance.now() - startMs) / 1000;
  // What was under way when the limit came is not limited.
  assert.ok(frames <= seconds * 200 + 64, `${frames} frames in ${seconds} s`);
  assert.throws(() => net?.setRateLimits({ bytesPerSecond: -1 }), { code: 'invalid-config' });
  net?.setRateLimits({});
  await grows(machine, 'sentFrames');
});
