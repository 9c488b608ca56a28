/** The library as another program uses it: the public API alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BootMetrics,
  bootMachine,
  createLogger,
  type Machine,
  type MachineConfig,
  TsvmError,
} from '../../../vmm/index.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

const CONFIG: MachineConfig = {
  kernelPath: PAYLOAD,
  initrdPath: undefined,
  disks: [],
  cmdline: undefined,
  appendCmdline: 'tests=serial-flood count=2000',
  cpus: 2,
  memoryBytes: 64 * 2 ** 20,
  acpi: false,
  cpuMask: [],
  devicePath: '/dev/kvm',
};

/** A machine whose output is kept. */
async function boot(config = CONFIG): Promise<{ machine: Machine; output: () => string }> {
  let output = '';
  const machine = await bootMachine(config, {
    console: {
      write: (bytes) => {
        output += Buffer.from(bytes).toString();
        return true;
      },
      onceDrained: () => Promise.resolve(),
      startInput: () => {},
      resumeInput: () => {},
    },
    logger: createLogger('error', () => {}),
    metrics: new BootMetrics(),
  });
  return { machine, output: () => output };
}

const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('a paused machine stands still, and goes on where it stood', async () => {
  const { machine, output } = await boot();
  machine.start();
  while (!output().includes('00000010 ')) await tick(1);
  await machine.pause();
  await tick(20);
  const { exits } = machine.vm.statistics();
  const paused = output();
  await tick(200);
  assert.equal(machine.vm.statistics()['exits'], exits);
  assert.equal(output(), paused);

  machine.resume();
  assert.equal((await machine.ended).reason, 'poweroff');
  await machine.close();
  const numbers = [...output().matchAll(/^(\d{8}) [a-z]{54}$/gm)].map(([, number]) =>
    Number(number),
  );
  assert.deepEqual(
    numbers,
    Array.from({ length: 2000 }, (_, index) => index),
  );
});

test('two machines at once do not know each other', async () => {
  const first = await boot();
  const second = await boot({ ...CONFIG, appendCmdline: 'tests=cpuid' });
  first.machine.start();
  second.machine.start();
  assert.equal((await second.machine.ended).reason, 'poweroff');
  first.machine.stop();
  assert.equal((await first.machine.ended).reason, 'stopped');
  await first.machine.close();
  await second.machine.close();
  assert.match(second.output(), /^done passed=1 failed=0/m);
});

test('what the state does not allow is refused', async () => {
  const { machine } = await boot();
  const wrongState = (error: unknown) => error instanceof TsvmError && error.code === 'wrong-state';
  assert.throws(() => machine.resume(), wrongState);
  await assert.rejects(() => machine.pause(), wrongState);
  machine.start();
  assert.throws(() => machine.start(), wrongState);
  machine.stop();
  assert.throws(() => machine.resume(), wrongState);
  await machine.close();
  await machine.close();
});
