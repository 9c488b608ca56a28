/** MSRs that firmware sets before it starts a kernel: Intel SDM volume 4. */

const IA32_MISC_ENABLE = 0x1a0;
const MISC_ENABLE_FAST_STRING = 1n << 0n;

const IA32_MTRR_DEF_TYPE = 0x2ff;
const MTRR_ENABLE = 1n << 11n;
const MTRR_TYPE_WRITE_BACK = 6n;

/**
 * Set on every vCPU. KVM's reset values of the other MSRs are right.
 *
 * All memory is write-back: there are no variable ranges, and the fixed ranges stay disabled, because
 * their reset value 0 would make the first MiB uncached.
 */
export const BOOT_MSRS: ReadonlyMap<number, bigint> = new Map([
  [IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING],
  [IA32_MTRR_DEF_TYPE, MTRR_ENABLE | MTRR_TYPE_WRITE_BACK],
]);
