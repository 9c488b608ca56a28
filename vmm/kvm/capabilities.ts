/** KVM_CAP_* of Linux UAPI, linux/kvm.h. */
export interface Capability {
  readonly name: string;
  readonly number: number;
}

export const KVM_CAP_XCRS = 56;

/** Capabilities that tsvm requires. */
const NEEDED: readonly Capability[] = [
  { name: 'KVM_CAP_IRQCHIP', number: 0 },
  { name: 'KVM_CAP_USER_MEMORY', number: 3 },
  { name: 'KVM_CAP_SET_TSS_ADDR', number: 4 },
  { name: 'KVM_CAP_EXT_CPUID', number: 7 },
  { name: 'KVM_CAP_IRQFD', number: 32 },
  { name: 'KVM_CAP_PIT2', number: 33 },
  { name: 'KVM_CAP_IOEVENTFD', number: 36 },
  { name: 'KVM_CAP_SET_IDENTITY_MAP_ADDR', number: 37 },
  { name: 'KVM_CAP_IMMEDIATE_EXIT', number: 136 },
];

/** Further capabilities required on kvm-pvm, by the interpreter as well as by the emulator. */
const NEEDED_ON_PVM: readonly Capability[] = [
  { name: 'KVM_CAP_SET_GUEST_DEBUG', number: 23 },
  { name: 'KVM_CAP_XSAVE', number: 55 },
  { name: 'KVM_CAP_XCRS', number: KVM_CAP_XCRS },
  { name: 'KVM_CAP_SYNC_REGS', number: 74 },
  { name: 'KVM_CAP_READONLY_MEM', number: 81 },
  { name: 'KVM_CAP_X86_USER_SPACE_MSR', number: 188 },
  { name: 'KVM_CAP_X86_MSR_FILTER', number: 189 },
];

/** The recommended and the maximum number of vCPUs. */
export const KVM_CAP_NR_VCPUS = 9;
export const KVM_CAP_MAX_VCPUS = 66;
/** KVM before Linux 6.15 leaves it to the VMM to report the timer in CPUID. */
export const KVM_CAP_TSC_DEADLINE_TIMER = 72;

/** @param pvm true when the host's KVM is kvm-pvm */
export function neededCapabilities(pvm: boolean): readonly Capability[] {
  return pvm ? [...NEEDED, ...NEEDED_ON_PVM] : NEEDED;
}
