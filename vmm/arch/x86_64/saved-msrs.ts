/**
 * The MSRs of a vCPU's state, in the order in which they are restored: Intel SDM volume 4, AMD APM
 * volume 2 appendix A, and the kernel's Documentation/virt/kvm/x86/msr.rst. APIC base and EFER are in
 * `struct kvm_sregs`. Those of performance counters are missing: a guest's counters stop.
 */

const IA32_TIME_STAMP_COUNTER = 0x10;
const IA32_TSC_ADJUST = 0x3b;

/** The TSC's value and offset. kvm-pvm guests have the host's own TSC, which cannot be set. */
export const TSC_MSRS: readonly number[] = [IA32_TIME_STAMP_COUNTER, IA32_TSC_ADJUST];

const range = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);

/** All but {@link TSC_MSRS}. */
export const STATE_MSRS: readonly number[] = [
  0x48, // IA32_SPEC_CTRL
  0x140, // MISC_FEATURES_ENABLES
  ...range(0x174, 3), // IA32_SYSENTER_CS, _ESP, _EIP
  0x17a, // IA32_MCG_STATUS
  0x17b, // IA32_MCG_CTL
  0x1a0, // IA32_MISC_ENABLE
  ...range(0x200, 16), // IA32_MTRR_PHYSBASE0 … PHYSMASK7
  0x250, // IA32_MTRR_FIX64K_00000
  0x258, // IA32_MTRR_FIX16K_80000
  0x259, // IA32_MTRR_FIX16K_A0000
  ...range(0x268, 8), // IA32_MTRR_FIX4K_C0000 … F8000
  0x277, // IA32_PAT
  0x2ff, // IA32_MTRR_DEF_TYPE
  0xda0, // IA32_XSS
  ...range(0xc000_0081, 4), // STAR, LSTAR, CSTAR, SFMASK
  0xc000_0102, // KERNEL_GS_BASE
  0xc000_0103, // TSC_AUX
  0xc001_011f, // VIRT_SPEC_CTRL
  ...range(0x4b56_4d00, 7), // kvm-clock, asynchronous page faults, steal time, PV EOI, polling
  // After the local APIC and the clocks.
  0x6e0, // IA32_TSC_DEADLINE
];
