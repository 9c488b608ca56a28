/** Memory that a Linux guest gets and gives back while it runs, measured at both of its ends. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootMachine } from '../../../vmm/index.ts';
import { GuestShell } from '../../support/guest-shell.ts';
import { COMMAND_TIMEOUT_MS, defaultGuest, prebuiltKernel } from '../../support/linux-guest.ts';

const MIB = 2 ** 20;
const BOOT_MIB = 256;
const MAX_MIB = 1024;
const FILE_MIB = 300;

/** Anonymous memory of this process, which has the machine, in MiB. */
function residentMib(): number {
  const [, kib] = /^RssAnon:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return Number(kib) / 1024;
}

for (const transport of ['mmio', 'pci'] as const) {
  test(`a guest gets memory and gives it back to the host: ${transport}`, async (context) => {
    const shell = new GuestShell();
    const machine = await bootMachine(
      {
        ...(await prebuiltKernel()),
        transport,
        disks: [{ path: defaultGuest().rootDiskPath, overlay: true }],
        memoryBytes: BOOT_MIB * MIB,
        memoryMaxBytes: MAX_MIB * MIB,
      },
      { console: shell },
    );
    context.after(() => machine.close());
    const { memory } = machine.controls;
    assert.ok(memory);
    machine.start();
    await shell.ready();

    const totalMib = async () => {
      const [, kib] = /^MemTotal:\s+(\d+)/m.exec(await shell.run('cat /proc/meminfo')) ?? [];
      return Number(kib) / 1024;
    };
    const resize = async (mib: number) => {
      memory.setTarget(mib * MIB);
      const endMs = performance.now() + COMMAND_TIMEOUT_MS;
      while (memory.actualBytes !== mib * MIB) {
        assert.ok(performance.now() < endMs, `${memory.actualBytes / MIB} of ${mib} MiB`);
        await sleep(20);
      }
    };
    /** Linux has the memory some time after the device; what it uses for itself changes by less. */
    const untilTotal = async (mib: number) => {
      const endMs = performance.now() + COMMAND_TIMEOUT_MS;
      for (;;) {
        const total = await totalMib();
        if (Math.abs(total - mib) < 16) return;
        assert.ok(performance.now() < endMs, `${total} MiB, not ${mib}`);
        await sleep(20);
      }
    };
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
