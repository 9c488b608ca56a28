/** What the addon asks of KVM, call by call: KVM with hardware virtualization checks more. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { NativeCpuState } from '../../../kvm-addon/index.d.ts';
import { cpuidEntries } from '../../../vmm/arch/x86_64/cpuid.ts';
import { linux64State, pvhState } from '../../../vmm/arch/x86_64/initial-state.ts';
import { memoryRegions, PVM_REGION_GPA } from '../../../vmm/arch/x86_64/layout.ts';
import { BOOT_MSRS } from '../../../vmm/arch/x86_64/msrs.ts';
import { decodeSregs, encodeRegs, patchSregs } from '../../../vmm/arch/x86_64/registers.ts';
import { TsvmError } from '../../../vmm/errors.ts';
import { probeKvm } from '../../../vmm/kvm/host.ts';
import { KvmMemory } from '../../../vmm/kvm/memory.ts';
import { Vm } from '../../../vmm/kvm/vm.ts';
import { chooseKernelMode } from '../../../vmm/machine/kernel-mode.ts';
import { processorHas } from '../../support/linux-guest.ts';

const DEVICE = '/dev/kvm';
const CPUS = 2;

/** A machine's KVM half whose vCPUs have their CPUID. */
function vmWithCpuid(t: TestContext): Vm {
  const memory = new KvmMemory(memoryRegions(16 * 2 ** 20));
  const vm = new Vm({
    devicePath: DEVICE,
    memory,
    cpus: CPUS,
    kernelMode: chooseKernelMode(probeKvm(DEVICE), 'auto'),
    pvmGpa: PVM_REGION_GPA,
    onWake: () => {},
  });
  t.after(() => {
    vm.close();
    memory.close();
  });
  for (let cpu = 0; cpu < CPUS; cpu++) {
    vm.setCpuid(cpu, cpuidEntries(vm.supportedCpuid(), { cpu, cpus: CPUS, mask: [] }));
  }
  return vm;
}

/** The order of vcpu_state.h. */
const KINDS: readonly NativeCpuState[] = [
  'sregs',
  ...(processorHas('xsave') ? (['xcrs'] as const) : []),
  'xsave',
  'lapic',
  'events',
  'mp-state',
  'debugregs',
  'regs',
];

test('vCPU state that was read can be set, and reads back the same', (t) => {
  const vm = vmWithCpuid(t);
  for (let cpu = 0; cpu < CPUS; cpu++) {
    const state = KINDS.map((kind) => [kind, vm.getState(cpu, kind)] as const);
    for (const [kind, bytes] of state) vm.setState(cpu, kind, bytes);
    vm.setMsrs(cpu, BOOT_MSRS);
    for (const [kind, bytes] of state) assert.deepEqual(vm.getState(cpu, kind), bytes, kind);
  }
});

test('VM state that was read can be set, and reads back the same', (t) => {
  const vm = vmWithCpuid(t);
  for (const kind of ['pic-master', 'pic-slave', 'ioapic'] as const) {
    const bytes = vm.getVmState(kind);
    vm.setVmState(kind, bytes);
    assert.deepEqual(vm.getVmState(kind), bytes, kind);
  }
  // KVM_CREATE_IRQCHIP masks all pins of the IO-APIC (struct kvm_ioapic_state: redirtbl from byte 24).
  const ioapic = vm.getVmState('ioapic');
  const entry = new DataView(ioapic.buffer, ioapic.byteOffset + 8 + 24 + 8 * 5);
  assert.equal(entry.getUint32(0, true) & 0x1_0000, 0x1_0000);
  entry.setUint32(0, 0x1_0034, true);
  vm.setVmState('ioapic', ioapic);
  assert.deepEqual(vm.getVmState('ioapic'), ioapic);
  // struct kvm_pit_state2: the count of channel 0. KVM changes only the times at which it was loaded.
  const pit = vm.getVmState('pit');
  new DataView(pit.buffer, pit.byteOffset).setUint32(0, 0x1234, true);
  vm.setVmState('pit', pit);
  assert.deepEqual(vm.getVmState('pit').subarray(0, 16), pit.subarray(0, 16));
  assert.throws(() => vm.setVmState('pic-slave', vm.getVmState('pic-master')), /EINVAL/);
  assert.throws(() => vm.setVmState('pit', new Uint8Array(3)), /EINVAL/);
});

/** `clock` of `struct kvm_clock_data`, in ns. */
function clockNs(bytes: Uint8Array): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);
}

test('the clock of a VM goes on from the value that is set', (t) => {
  const vm = vmWithCpuid(t);
  const hourNs = 3_600_000_000_000n;
  const clock = vm.getVmState('clock');
  assert.ok(clockNs(clock) < hourNs);
  new DataView(clock.buffer, clock.byteOffset).setBigUint64(0, hourNs, true);
  vm.setVmState('clock', clock);
  const now = clockNs(vm.getVmState('clock'));
  assert.ok(now >= hourNs && now < 2n * hourNs, `${now}`);
});

test('MSRs that KVM does not know are missing among those that are read', (t) => {
  const vm = vmWithCpuid(t);
  vm.setMsrs(0, BOOT_MSRS);
  const [first = 0] = BOOT_MSRS.keys();
  const msrs = vm.getMsrs(0, [0x1234_5678, first]);
  assert.deepEqual([...msrs], [[first, BOOT_MSRS.get(first)]]);
});

for (const [name, { regs, sregs }] of [
  ['Linux’s 64-bit entry', linux64State(0x100_0000)],
  ['the PVH entry', pvhState(0x100_0000)],
] as const) {
  test(`the registers of ${name} are taken`, (t) => {
    const vm = vmWithCpuid(t);
    vm.setState(0, 'sregs', patchSregs(vm.getState(0, 'sregs'), sregs));
    vm.setState(0, 'regs', encodeRegs(regs));
    const { cr4, efer, cs } = decodeSregs(vm.getState(0, 'sregs'));
    assert.deepEqual([cr4, efer, cs], [sregs.cr4, sregs.efer, sregs.cs]);
    assert.deepEqual(vm.getState(0, 'regs'), encodeRegs(regs));
  });
}

/** IRR of a local APIC as `struct kvm_lapic_state` holds it: vectors that wait (SDM 3, 11.8.4). */
function pendingVectors(vm: Vm, cpu: number): number[] {
  const lapic = vm.getState(cpu, 'lapic');
  const irr = new DataView(lapic.buffer, lapic.byteOffset);
  return Array.from({ length: 256 }, (_, vector) => vector).filter(
    (vector) => irr.getUint32(0x200 + 16 * (vector >> 5), true) & (1 << (vector & 31)),
  );
}

/** A local APIC takes interrupts only when its spurious-interrupt register enables it. */
function enableApic(vm: Vm, cpu: number): void {
  const lapic = vm.getState(cpu, 'lapic');
  new DataView(lapic.buffer, lapic.byteOffset).setUint32(0xf0, 0x1ff, true);
  vm.setState(cpu, 'lapic', lapic);
}

async function waitForVectors(vm: Vm, cpu: number, vectors: readonly number[]): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (pendingVectors(vm, cpu).join() !== vectors.join() && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.deepEqual(pendingVectors(vm, cpu), vectors);
}

test('message-signalled interrupts: each has its vector and its vCPU, and its driver moves it', async (t) => {
  const vm = vmWithCpuid(t);
  for (let cpu = 0; cpu < CPUS; cpu++) enableApic(vm, cpu);
  const [first, second, silent] = [1, 2, 3].map(() => vm.messageInterrupt());
  assert.ok(first && second && silent);
  assert.equal(new Set([first.gsi, second.gsi, silent.gsi]).size, 3);
  first.pulse();
  first.setMessage({ address: 0xfee0_0000, data: 0x51 });
  second.setMessage({ address: 0xfee0_1000, data: 0x62 });
  silent.pulse();
  first.pulse();
  second.pulse();
  await waitForVectors(vm, 0, [0x51]);
  await waitForVectors(vm, 1, [0x62]);
  first.setMessage({ address: 0xfee0_1000, data: 0x73 });
  second.setMessage(undefined);
  second.pulse();
  first.pulse();
  await waitForVectors(vm, 1, [0x62, 0x73]);
  assert.deepEqual(pendingVectors(vm, 0), [0x51]);
});

test('a doorbell that is unbound is free again, and another stays', (t) => {
  const vm = vmWithCpuid(t);
  const event = vm.kickEvent(0xd000_0000, 4, 1);
  vm.kickEvent(0xd000_0000, 4, 2);
  vm.unbindKick(event, 0xd000_0000, 4, 1);
  assert.throws(() => vm.unbindKick(event, 0xd000_0000, 4, 1), /ENOENT/);
  vm.kickEvent(0xd000_0000, 4, 1);
  assert.throws(() => vm.kickEvent(0xd000_0000, 4, 2), /File exists/);
});

test('a call that KVM refuses is named, with its errno', (t) => {
  const vm = vmWithCpuid(t);
  const failsWith = (text: string) => (error: unknown) =>
    error instanceof TsvmError && error.code === 'kvm-failed' && error.message.includes(text);
  const unknownMsr = new Map([[0x1234_5678, 0n]]);
  assert.throws(() => vm.setMsrs(0, unknownMsr), failsWith('KVM_SET_MSRS: Invalid argument'));
  assert.throws(() => vm.interruptLine(24), failsWith('(EINVAL)'));
  vm.kickEvent(0xd000_0000, 4, 1);
  assert.throws(() => vm.kickEvent(0xd000_0000, 4, 1), failsWith('KVM_IOEVENTFD: File exists'));
});
