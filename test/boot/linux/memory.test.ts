/** Memory that a Linux guest gets and gives back while it runs, measured at both of its ends. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootMachine, type MachineConfig } from '../../../vmm/index.ts';
import { GuestShell } from '../../support/guest-shell.ts';
import { COMMAND_TIMEOUT_MS, defaultGuest, defaultKernel } from '../../support/linux-guest.ts';

const MIB = 2 ** 20;
const BOOT_MIB = 256;
const MAX_MIB = 1024;
const FILE_MIB = 300;

/** Anonymous memory of this process, which has the machine, in MiB. */
function residentMib(): number {
  const [, kib] = /^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kib) / 1024;
}

/** A guest that can grow. */
async function boot(context: TestContext, config: Partial<MachineConfig>) {
  const shell = new GuestShell();
  const machine = await bootMachine(
    {
      ...defaultKernel(),
      disks: [{ path: defaultGuest().rootDiskPath, overlay: true }],
      memoryBytes: BOOT_MIB * MIB,
      memoryMaxBytes: MAX_MIB * MIB,
      ...config,
    },
    { console: shell },
  );
  context.after(() => machine.close());
  machine.start();
  await shell.ready();
  return { machine, shell };
}

/** Waits until `current`, in MiB, is `mib`, or differs by less than `withinMib`. */
async function until(mib: number, current: () => number | Promise<number>, withinMib = 0) {
  const endMs = performance.now() + COMMAND_TIMEOUT_MS;
  for (;;) {
    const now = await current();
    if (now === mib || Math.abs(now - mib) < withinMib) return;
    assert.ok(performance.now() < endMs, `${now} MiB, not ${mib}`);
    await sleep(20);
  }
}

for (const transport of ['mmio', 'pci'] as const) {
  test(`a guest gets memory and gives it back to the host: ${transport}`, async (context) => {
    const { machine, shell } = await boot(context, { transport });
    const { memory } = machine.controls;
    assert.ok(memory);

    const totalMib = async () => {
      const [, kib] = /^MemTotal:\s+(\d+)/m.exec(await shell.run('cat /proc/meminfo')) ?? [];
      return Number(kib) / 1024;
    };
    const resize = async (mib: number) => {
      memory.setTarget(mib * MIB);
      await until(mib, () => memory.actualBytes / MIB);
    };
    /** Linux has the memory some time after the device; what it uses for itself changes by less. */
    const untilTotal = (mib: number) => until(mib, totalMib, 16);
    const bootMib = await totalMib();
    assert.ok(bootMib < BOOT_MIB);

    await resize(MAX_MIB);
    await untilTotal(bootMib + MAX_MIB - BOOT_MIB);
    assert.match(await shell.run('cat /proc/iomem'), /System RAM \(virtio_mem\)/);
    const blocks = 'cat /sys/devices/system/memory/memory*/valid_zones';
    assert.match(await shell.run(blocks), /Movable/, 'added memory can be taken away');
    for (const bytes of [0, (BOOT_MIB - 2) * MIB, (MAX_MIB + 2) * MIB, (BOOT_MIB + 1) * MIB]) {
      assert.throws(() => memory.setTarget(bytes), { code: 'invalid-config' });
    }

    // More than it booted with.
    const beforeMib = residentMib();
    await shell.run('mount -t tmpfs -o size=90% none /mnt');
    await shell.run(`dd if=/dev/zero of=/mnt/file bs=1M count=${FILE_MIB}`);
    assert.ok(residentMib() > beforeMib + 0.8 * FILE_MIB, `${residentMib()} MiB are resident`);
    await shell.run('rm /mnt/file');
    await resize(BOOT_MIB);
    assert.ok(residentMib() < beforeMib + 0.4 * FILE_MIB, `${residentMib()} MiB are resident`);
    await untilTotal(bootMib);

    await resize(BOOT_MIB + 128);
    await untilTotal(bootMib + 128);
    const { blocksPlugged = 0, refusedRequests } = machine.statistics()['mem'] ?? {};
    assert.equal(blocksPlugged, (MAX_MIB - BOOT_MIB + 128) / 2);
    assert.equal(refusedRequests, 0);
    assert.doesNotMatch(await shell.run('dmesg'), /virtio_mem.*(error|fail|unknown)/i);
  });
}

test('the balloon takes added memory as well', async (context) => {
  const { machine } = await boot(context, { balloon: true });
  const { balloon, memory } = machine.controls;
  assert.ok(balloon);
  assert.ok(memory);
  memory.setTarget(MAX_MIB * MIB);
  await until(MAX_MIB, () => memory.actualBytes / MIB);
  // Far more than it booted with.
  balloon.setTarget(2 * BOOT_MIB * MIB);
  await until(2 * BOOT_MIB, () => balloon.actualBytes / MIB);
});
