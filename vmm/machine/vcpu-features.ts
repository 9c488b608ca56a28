import { cpuidEntries } from '../arch/x86_64/cpuid.ts';
import { KVM_CAP_TSC_DEADLINE_TIMER } from '../kvm/capabilities.ts';
import { checkKvmExtension } from '../kvm/host.ts';
import type { Assembly } from './assembly.ts';

/** The features of each vCPU: an array of `struct kvm_cpuid_entry2`. */
export function cpuidOf({ vm, config }: Assembly): Uint8Array[] {
  const { cpus, cpuMask: mask, devicePath } = config;
  const supported = vm.supportedCpuid();
  const tscDeadlineTimer = checkKvmExtension(devicePath, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
  return Array.from({ length: cpus }, (_, cpu) =>
    cpuidEntries(supported, { cpu, cpus, mask, tscDeadlineTimer }),
  );
}
