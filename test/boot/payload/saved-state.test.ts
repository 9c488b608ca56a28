/** The state of every device: saved while a guest is at work, and loaded into another machine. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { deserialize, serialize } from 'node:v8';
import type { DeviceState } from '../../../vmm/devices/device-state.ts';
import type { ConsoleBackend, MachineConfig } from '../../../vmm/index.ts';
import { bootAssembly } from '../../../vmm/machine/boot-machine.ts';
import { saveMachine } from '../../../vmm/machine/saved-machine.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { PAYLOAD, temporaryFolder } from '../../support/tsvm-process.ts';

const READS = 1_000_000;

/** Of 64 bytes: more than fits into the ring of 16 KiB. */
const LINES = 600;

/** Readings of the counters without a change, 50 ms apart, that tell that the guest waits. */
const STILL_READINGS = 4;
const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function makeConfig(t: TestContext): MachineConfig {
  const path = join(temporaryFolder(t), 'disk.img');
  writeFileSync(path, new Uint8Array(2 ** 20));
  return {
    kernelPath: PAYLOAD,
    disks: [{ path }],
    appendCmdline: `bench=blk-randread bs=4096 qd=32 count=${READS}`,
    memoryBytes: 64 * 2 ** 20,
    acpi: false,
  };
}

async function boot(t: TestContext, config: MachineConfig, console?: ConsoleBackend) {
  const { machine } = await bootAssembly(config, { ...(console && { console }) });
  t.after(() => machine.close());
  return machine;
}

/** Waits for a guest whose console is full with what it was given first: then the ring fills, and it waits. */
async function untilWaiting(
  machine: Awaited<ReturnType<typeof boot>>,
  hasOutput: () => boolean,
): Promise<void> {
  for (let still = 0, before = ''; still < STILL_READINGS; await tick(50)) {
    const now = JSON.stringify(machine.statistics()['vcpus']);
    still = hasOutput() && now === before ? still + 1 : 0;
    before = now;
  }
}

test('a machine with the same configuration restores every device’s state exactly', async (t) => {
  const config = makeConfig(t);
  const machine = await boot(t, config, new ConsoleOutput());
  machine.start();
  while ((machine.statistics()['disk0']?.['chains'] ?? 0) < 1000) await tick(1);
  await machine.pause();
  const saved = machine.saveDevices();
  const ids = ['boot-progress', 'disk0', 'i8042', 'power', 'pvpanic', 'rng', 'rtc', 'serial'];
  assert.deepEqual(Object.keys(saved).sort(), ids);
  const common = saved['disk0']?.['common'] as { status: number };
  assert.equal(common.status & 4, 4, 'the disk is in service');
  await tick(50);
  assert.deepEqual(machine.saveDevices(), saved, 'nothing changes during a pause');
  await machine.close();

  const next = await boot(t, config);
  // As a file would hold it: plain data only.
  next.loadDevices(deserialize(serialize(saved)) as Record<string, DeviceState>);
  // Its vCPU starts at the payload's entry, as it has no other state, and resets what it finds.
  next.start();
  await next.pause();
  assert.equal(next.state, 'paused');
});

test('a disk of another size does not take the state', async (t) => {
  const config = makeConfig(t);
  const machine = await boot(t, config);
  machine.start();
  await machine.pause();
  const saved = machine.saveDevices();
  const path = join(temporaryFolder(t), 'larger.img');
  writeFileSync(path, new Uint8Array(2 ** 21));
  const other = await boot(t, { ...config, disks: [{ path }] });
  assert.throws(() => other.loadDevices(saved), /disk0.*another size/);
});

test('a file as memory that has become longer does not take the state', async (t) => {
  const path = join(temporaryFolder(t), 'memory');
  writeFileSync(path, new Uint8Array(4096));
  const { disks: _none, ...config } = makeConfig(t);
  const withFile = { ...config, pmems: [{ path, readOnly: true }] };
  const machine = await boot(t, withFile);
  machine.start();
  await machine.pause();
  const saved = machine.saveDevices();
  await machine.close();
  (await boot(t, withFile)).loadDevices(saved);
  writeFileSync(path, new Uint8Array(8192));
  const other = await boot(t, withFile);
  assert.throws(() => other.loadDevices(saved), /pmem0.*had 4096 bytes, and has 8192 now/);
});

test('a machine is not saved while its guest has a disk that was removed by force', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'disk.img');
  writeFileSync(path, new Uint8Array(2 ** 20));
  const { disks: _none, ...config } = makeConfig(t);
  const assembly = await bootAssembly(
    { ...config, acpi: true, transport: 'pci', appendCmdline: 'exit=hlt' },
    {},
  );
  const { machine } = assembly;
  t.after(() => machine.close());
  machine.start();
  const { hotplug } = machine.controls;
  assert.equal(await hotplug?.addDisk({ path }), 'disk0');
  await hotplug?.remove('disk0', { timeoutMs: 0, force: true });
  assert.deepEqual(hotplug?.pulledOut, ['disk0']);
  await machine.pause();
  await assert.rejects(saveMachine(assembly, folder), {
    code: 'wrong-state',
    message: /the guest still has disk0, which was removed by force/,
  });
});

test('a pause of a guest that waits for a console that is not read', async (t) => {
  const drained = Promise.withResolvers<void>();
  let text = '';
  let full = true;
  const machine = await boot(
    t,
    {
      kernelPath: PAYLOAD,
      appendCmdline: `tests=serial-flood count=${LINES}`,
      memoryBytes: 64 * 2 ** 20,
      acpi: false,
    },
    {
      write: (bytes) => {
        text += Buffer.from(bytes).toString('latin1');
        return !full;
      },
      onceDrained: () => drained.promise,
      startInput: () => {},
      resumeInput: () => {},
    },
  );
  machine.start();
  await untilWaiting(machine, () => text.length > 0);
  const before = text;
  await machine.pause();
  const saved = machine.saveDevices()['serial']?.['output'] as Uint8Array;
  assert.ok(saved.length >= 16384, `what it waits for is part of the state: ${saved.length} bytes`);
  full = false;
  drained.resolve();
  await tick(20);
  assert.equal(text, before, 'nothing is written during a pause');
  machine.resume();
  assert.equal((await machine.ended).reason, 'poweroff');
  await machine.close();
  const numbers = [...text.matchAll(/^(\d{8}) [a-z]{54}$/gm)].map(([, number]) => Number(number));
  assert.deepEqual(
    numbers,
    Array.from({ length: LINES }, (_, index) => index),
  );
});

test('a machine whose console is full and never read is closed', async (t) => {
  let text = '';
  const machine = await boot(
    t,
    { kernelPath: PAYLOAD, appendCmdline: 'tests=serial-flood count=100000', acpi: false },
    {
      write: (bytes) => {
        text += Buffer.from(bytes).toString('latin1');
        return false;
      },
      onceDrained: () => new Promise(() => {}),
      startInput: () => {},
      resumeInput: () => {},
    },
  );
  machine.start();
  await untilWaiting(machine, () => text.length > 0);
  const before = text.length;
  await machine.close();
  assert.ok(text.length > before, 'what was in the ring is with the console');
});
