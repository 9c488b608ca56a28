/** Machines in this process: several at once, paused, resumed, closed at any time. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Machine, type MachineConfig, TsvmError } from '../../../vmm/index.ts';
import { bootAssembly } from '../../../vmm/machine/boot-machine.ts';
import { ConsoleOutput } from '../../support/console-output.ts';
import { PAYLOAD } from '../../support/tsvm-process.ts';

const CPUS = 2;
const MEMORY_BYTES = 64 * 2 ** 20;
const CONFIG: MachineConfig = {
  kernelPath: PAYLOAD,
  appendCmdline: 'tests=serial-flood count=100000',
  cpus: CPUS,
  memoryBytes: MEMORY_BYTES,
  acpi: false,
};

/** A machine whose output is kept. */
async function boot(config = CONFIG) {
  const console = new ConsoleOutput();
  const { machine, vm, memory } = await bootAssembly(config, { console });
  return { machine, vm, memory, output: () => console.text };
}

/** A machine that keeps its disk busy with so many reads, 32 at a time, and has begun to. */
async function bootBusy(context: TestContext, count: number) {
  const path = join(temporaryFolder(context), 'disk.img');
  writeFileSync(path, new Uint8Array(2 ** 20));
  const config: MachineConfig = {
    ...CONFIG,
    disks: [{ path, readOnly: false, format: 'raw', overlay: false, backing: 'same-folder' }],
    appendCmdline: `bench=blk-randread bs=4096 qd=32 count=${count}`,
  };
  const booted = await boot(config);
  const chains = () => booted.machine.statistics()['disk0']?.['chains'] ?? 0;
  booted.machine.start();
  while (chains() < 1000) await tick(1);
  return { ...booted, config, chains };
}

function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-library-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** False when the guest has ended instead, which is the only other way out of a pause. */
async function pauseUnlessEnded(machine: Machine): Promise<boolean> {
  if (machine.state === 'stopped') return false;
  try {
    await machine.pause();
    return true;
  } catch (error) {
    assert.ok(error instanceof TsvmError && error.code === 'wrong-state', String(error));
    assert.equal(machine.state, 'stopped');
    return false;
  }
}

const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Of a line of `serial-flood`, its end included. */
const LINE_BYTES = 64;

test('a paused machine makes no progress, and resume continues it', async () => {
  const { machine, vm, output } = await boot({
    ...CONFIG,
    appendCmdline: 'tests=serial-flood count=100000000',
  });
  machine.start();
  while (!output().includes('00000010 ')) await tick(1);
  const pausing = machine.pause();
  assert.equal(machine.state, 'pausing');
  await pausing;
  assert.equal(machine.state, 'paused');
  const { exits } = vm.statistics();
  const paused = output();
  await tick(200);
  assert.equal(vm.statistics()['exits'], exits);
  assert.equal(output(), paused);

  machine.resume();
  while (output().length < paused.length + 100 * LINE_BYTES) await tick(1);
  machine.stop();
  assert.equal((await machine.ended).reason, 'stopped');
  await machine.close();
  const numbers = [...output().matchAll(/^(\d{8}) [a-z]{54}$/gm)].map(([, number]) =>
    Number(number),
  );
  assert.ok(numbers.length > 100);
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, index) => index),
  );
});

test('vCPU state of a paused machine can be read and set, and resume continues it', async () => {
  const { machine, vm, output } = await boot({
    ...CONFIG,
    appendCmdline: 'tests=smp,serial-flood cpus=2 count=1500',
  });
  machine.start();
  for (let pauses = 0; pauses < 20; pauses++) {
    await tick(2 * pauses);
    if (!(await pauseUnlessEnded(machine))) break;
    for (let cpu = 0; cpu < CPUS; cpu++) {
      const kinds = ['sregs', 'xsave', 'lapic', 'events', 'mp-state', 'debugregs', 'regs'] as const;
      const state = kinds.map((kind) => [kind, vm.getState(cpu, kind)] as const);
      for (const [kind, bytes] of state) vm.setState(cpu, kind, bytes);
      for (const [kind, bytes] of state) {
        assert.deepEqual(vm.getState(cpu, kind), bytes, kind);
      }
    }
    machine.resume();
  }
  assert.equal((await machine.ended).reason, 'poweroff');
  await machine.close();
  assert.match(output(), /^done passed=2 failed=0/m);
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

test('calls that the machine state does not allow are refused', async () => {
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

test('truncating the kernel and initrd files does not affect a running machine', async (context) => {
  const folder = temporaryFolder(context);
  const kernelPath = join(folder, 'kernel');
  const initrdPath = join(folder, 'initrd');
  const initrd = Buffer.alloc(2 ** 20, 'initrd');
  copyFileSync(PAYLOAD, kernelPath);
  writeFileSync(initrdPath, initrd);
  const { machine, memory, output } = await boot({
    ...CONFIG,
    kernelPath,
    initrdPath,
    appendCmdline: 'tests=cpuid',
  });
  truncateSync(kernelPath);
  truncateSync(initrdPath);
  // Of a mapped file, this would be a SIGBUS.
  const placed = memory.slice(MEMORY_BYTES - initrd.length, initrd.length);
  assert.ok(initrd.equals(placed));
  machine.start();
  assert.equal((await machine.ended).reason, 'poweroff');
  await machine.close();
  assert.match(output(), /^done passed=1 failed=0/m);
});

test('a pause with requests in flight completes them, and resume continues the guest', async (context) => {
  const { machine, memory, output, chains } = await bootBusy(context, 20_000);
  const digest = () => {
    const hash = createHash('sha256');
    for (const { bytes } of memory.regions) hash.update(bytes);
    return hash.digest('hex');
  };
  await machine.pause();
  const paused = { chains: chains(), memory: digest() };
  assert.ok(paused.chains < 20_000);
  await tick(100);
  assert.deepEqual({ chains: chains(), memory: digest() }, paused);
  machine.resume();
  assert.equal((await machine.ended).reason, 'poweroff');
  await machine.close();
  assert.match(output(), /^bench blk-randread bs=4096 qd=32 requests=20000 /m);
});

test('closing with requests in flight waits for them and releases the disk', async (context) => {
  const { machine, config } = await bootBusy(context, 2 ** 30);
  await machine.close();
  const next = await boot({ ...config, appendCmdline: 'tests=blk-pattern' });
  next.machine.start();
  assert.equal((await next.machine.ended).reason, 'poweroff');
  await next.machine.close();
  assert.match(next.output(), /^ok blk-pattern/m);
});
