/** MSRs that firmware would have set before it starts a kernel: Intel SDM volume 4. */

const IA32_MISC_ENABLE = 0x1a0;
const MISC_ENABLE_FAST_STRING = 1n << 0n;

const IA32_MTRR_DEF_TYPE = 0x2ff;
const MTRR_ENABLE = 1n << 11n;
const MTRR_TYPE_WRITE_BACK = 6n;

/**
 * For every vCPU. All others are 0 after KVM's reset, or right (IA32_APIC_BASE, IA32_PAT).
 *
 * All memory is write-back: no variable range says otherwise, and the fixed ranges, which would make
 * the first MiB uncached while they are 0, stay disabled.
 */
export const BOOT_MSRS: ReadonlyMap<number, bigint> = new Map([
  [IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING],
  [IA32_MTRR_DEF_TYPE, MTRR_ENABLE | MTRR_TYPE_WRITE_BACK],
]);
