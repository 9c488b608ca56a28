/** The parts of a machine that need no KVM: configuration, resources, command line. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TsvmError } from '../../../vmm/errors.ts';
import { commandLine } from '../../../vmm/machine/command-line.ts';
import { type MachineConfig, resolveConfig } from '../../../vmm/machine/config.ts';
import { deviceIds } from '../../../vmm/machine/device-ids.ts';
import { checkCpuMask, chooseKernelMode } from '../../../vmm/machine/kernel-mode.ts';
import { type DevicePlacement, PlacementAllocator } from '../../../vmm/machine/placement.ts';

const DISK = {
  path: 'a.img',
  readOnly: false,
  format: undefined,
  overlay: false,
  backing: 'same-folder',
} as const;
const CONFIG = resolveConfig({
  kernelPath: 'vmlinux',
  initrdPath: undefined,
  disks: [DISK],
  cmdline: undefined,
  appendCmdline: undefined,
  cpus: 1,
  memoryBytes: 256 * 2 ** 20,
  acpi: true,
  cpuMask: [],
  engine: 'auto',
  devicePath: '/dev/kvm',
});
const PLACEMENT = { kind: 'mmio', gpa: 0xd0001000, sizeBytes: 4096, gsi: 5 } as const;

function refused(change: Partial<MachineConfig>, message: RegExp): void {
  assert.throws(
    () => resolveConfig({ ...CONFIG, ...change }),
    (error) =>
      error instanceof TsvmError && error.code === 'invalid-config' && message.test(error.message),
  );
}

test('a configuration out of range is refused by name', () => {
  resolveConfig(CONFIG);
  for (const cpus of [0, 33, 1.5, Number.NaN]) refused({ cpus }, /from 1 to 32/);
  for (const mib of [0, 15, 16.5, 2 ** 21]) refused({ memoryBytes: mib * 2 ** 20 }, /MiB/);
  refused({ cmdline: 'a', appendCmdline: 'b' }, /contradict/);
  refused({ disks: [DISK, DISK] }, /twice/);
  refused({ disks: [{ files: [] }] }, /has none/);
  resolveConfig({ ...CONFIG, disks: [{ files: ['a', 'b'] }, { files: ['c', 'b'] }] });
});

test('windows and interrupt lines are given once, and run out with an error', () => {
  for (const [acpi, lines] of [
    [true, 17],
    [false, 9],
  ] as const) {
    const allocator = new PlacementAllocator('mmio', acpi);
    Array.from({ length: lines }, () => allocator.allocate());
    const placements = allocator.mmio;
    assert.equal(new Set(placements.map(({ gsi }) => gsi)).size, lines);
    assert.equal(new Set(placements.map(({ gpa }) => gpa)).size, lines);
    assert.ok(placements.every(({ gsi }) => gsi >= 5 && gsi < (acpi ? 24 : 16)));
    assert.throws(() => allocator.allocate(), /no interrupt line is left/);
  }
});

test('only KVM’s emulator gets its parameters, and only without ACPI do devices stand in the line', () => {
  for (const mode of ['hardware', 'interpreter'] as const) {
    const line = commandLine({ ...CONFIG, cpuMask: ['avx2'] }, mode, [PLACEMENT]);
    assert.equal(line, 'console=ttyS0,115200n8r root=/dev/vda rw panic=-1');
  }
  const emulator = commandLine({ ...CONFIG, cpuMask: ['avx2'] }, 'emulator', [PLACEMENT]);
  assert.match(emulator, / nopti clearcpuid=\S*\bsmap\b\S*,avx2 .* noreplace-smp$/);
  const plain = commandLine({ ...CONFIG, acpi: false }, 'hardware', [PLACEMENT]);
  assert.match(plain, /virtio_mmio\.device=4K@0xd0001000:5$/);
});

test('a read-only first disk, an initrd, an appended and a complete command line', () => {
  const readOnly = { ...CONFIG, disks: [{ ...DISK, readOnly: true }], appendCmdline: 'quiet' };
  assert.match(commandLine(readOnly, 'hardware', []), /root=\/dev\/vda ro .*quiet$/);
  const joined = { ...CONFIG, disks: [{ files: ['a', 'b'] }] };
  assert.match(commandLine(joined, 'hardware', []), /root=\/dev\/vda ro /);
  assert.doesNotMatch(commandLine({ ...CONFIG, initrdPath: 'i' }, 'hardware', []), /root=/);
  assert.equal(commandLine({ ...CONFIG, cmdline: 'mine' }, 'emulator', []), 'mine');
  const prebuilt = { ...CONFIG, modulesPath: 'm' };
  assert.match(
    commandLine(prebuilt, 'hardware', []),
    /rdinit=\/load-modules .*cryptomgr[.]notests/,
  );
  assert.doesNotMatch(commandLine(CONFIG, 'hardware', []), /cryptomgr/);
  assert.doesNotMatch(commandLine(prebuilt, 'hardware', [], 'root=UUID=1'), /cryptomgr/);
});

test('the requested engine is chosen, or refused with advice', () => {
  const hardware = { emulatesKernelMode: false, interpreterWorks: false };
  const pvm = { emulatesKernelMode: true, interpreterWorks: true };
  const oldPvm = { emulatesKernelMode: true, interpreterWorks: false };
  assert.equal(chooseKernelMode(hardware, 'auto'), 'hardware');
  assert.equal(chooseKernelMode(pvm, 'auto'), 'interpreter');
  assert.equal(chooseKernelMode(pvm, 'interpreter'), 'interpreter');
  assert.equal(chooseKernelMode(pvm, 'emulator'), 'emulator');
  assert.equal(chooseKernelMode(oldPvm, 'auto'), 'emulator');
  assert.throws(() => chooseKernelMode(oldPvm, 'interpreter'), /use --engine emulator/);
  assert.throws(() => chooseKernelMode(hardware, 'emulator'), /needs no engine/);
});

test('registers that programs use are not hidden from a kernel that is interpreted', () => {
  for (const mask of [['avx'], ['sse4_2', 'avx512f'], ['xsave'], ['pku']]) {
    assert.throws(() => checkCpuMask('interpreter', mask), /would not save its registers/);
    checkCpuMask('hardware', mask);
    checkCpuMask('emulator', mask);
  }
  checkCpuMask('interpreter', ['rdrand', 'rdseed', 'xsaves']);
  assert.throws(() => checkCpuMask('interpreter', ['avx3']), /avx3/);
});

test('slots: those of disks and networks from below, others from above, so that they stay', () => {
  const allocator = new PlacementAllocator('pci', true, [3]);
  const slotOf = (placement: DevicePlacement) => placement.kind === 'pci' && placement.slot;
  assert.deepEqual(
    [1, 2].map(() => slotOf(allocator.allocateRemovable())),
    [1, 2],
  );
  assert.equal(slotOf(allocator.allocate()), 31);
  assert.deepEqual(allocator.allocateSeries(2).map(slotOf), [29, 30], 'in a kernel’s order');
  assert.equal(slotOf(allocator.allocateRemovable()), 4, 'slot 3 is reserved');
  const third = allocator.allocateSlot(3);
  assert.throws(() => allocator.allocateSlot(3), { code: 'invalid-config' });
  allocator.release(third);
  assert.equal(slotOf(allocator.allocateRemovable(3)), 3);
  for (let slot = 5; slot < 29; slot++) assert.equal(slotOf(allocator.allocateRemovable()), slot);
  assert.throws(() => allocator.allocate(), /no slot of the PCI bus is left .*31 at most/);
});

test('slots: a machine has some for devices to come, and no more', () => {
  const allocator = new PlacementAllocator('pci', true);
  allocator.allocateRemovable();
  assert.equal(allocator.settleRemovable(), 9);
  const added = Array.from({ length: 8 }, () => allocator.allocateSlot());
  assert.deepEqual(
    added.map(({ slot }) => slot),
    [2, 3, 4, 5, 6, 7, 8, 9],
  );
  assert.throws(() => allocator.allocateSlot(), /no slot of the PCI bus is left .*9 at most/);
  assert.throws(() => allocator.allocateSlot(10), /slot 10 .*beyond 9/);
  allocator.release({ kind: 'pci', slot: 4, barGpa: 0 });
  assert.equal(allocator.allocateSlot().slot, 4);
});

test('ids: those that are given stay, others are the first that are free', () => {
  assert.deepEqual(deviceIds('disk', [{}, { id: 'disk0' }, {}, { id: 'disk7' }]), [
    ...['disk1', 'disk0', 'disk2', 'disk7'],
  ]);
  refused(
    {
      disks: [
        { ...DISK, id: 'disk1' },
        { path: 'b', id: 'disk1' },
      ],
    },
    /id disk1/,
  );
  for (const id of ['net0', 'disk', 'disk01', 'disk0\n', 'disk99999']) {
    refused({ disks: [{ ...DISK, id }] }, /disk0, disk1/);
  }
  for (const slot of [0, 32, 1.5]) refused({ disks: [{ ...DISK, slot }] }, /from 1 to 31/);
  refused({ nets: [{ kind: 'user', id: 'disk0' }] }, /net0, net1/);
});
