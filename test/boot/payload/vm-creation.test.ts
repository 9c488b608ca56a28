/** A virtual machine is created by a thread of its own: its success and failure are told later. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { memoryRegions, PVM_REGION_GPA } from '../../../vmm/arch/x86_64/layout.ts';
import { probeKvm } from '../../../vmm/kvm/host.ts';
import { KvmMemory } from '../../../vmm/kvm/memory.ts';
import { Vm } from '../../../vmm/kvm/vm.ts';
import { chooseKernelMode } from '../../../vmm/machine/kernel-mode.ts';

const DEVICE = '/dev/kvm';
const KERNEL_MODE = chooseKernelMode(probeKvm(DEVICE), 'auto');

function beginVm(devicePath: string): { vm: Vm; memory: KvmMemory } {
  const memory = new KvmMemory(memoryRegions(16 * 2 ** 20));
  const vm = new Vm({
    devicePath,
    memory,
    cpus: 1,
    kernelMode: KERNEL_MODE,
    pvmGpa: PVM_REGION_GPA,
    onWake: () => {},
  });
  return { vm, memory };
}

function fileCount(): number {
  return readdirSync('/proc/self/fd').length;
}

test('a device that cannot be opened is told by what waits for the creation', () => {
  const before = fileCount();
  const { vm, memory } = beginVm('/dev/no-such-kvm');
  assert.throws(() => vm.created(), { code: 'kvm-unavailable', message: /\/dev\/no-such-kvm/ });
  assert.throws(() => vm.supportedCpuid(), { code: 'kvm-failed', message: /ENOENT/ });
  assert.throws(() => vm.start(), { code: 'kvm-failed', message: /ENOENT/ });
  // As at the end of a machine.
  vm.stop();
  assert.equal(vm.parked, true);
  vm.close();
  memory.close();
  assert.equal(fileCount(), before);
});

test('a virtual machine that is closed while it is created leaves nothing', () => {
  const before = fileCount();
  for (let i = 0; i < 10; i++) {
    const { vm, memory } = beginVm(DEVICE);
    vm.close();
    assert.throws(() => vm.created(), { message: /EBADF/ });
    memory.close();
  }
  assert.equal(fileCount(), before);
});

test('methods wait for the end of the creation', () => {
  const { vm, memory } = beginVm(DEVICE);
  assert.ok(vm.supportedCpuid().byteLength > 0);
  vm.created();
  vm.close();
  memory.close();
});
