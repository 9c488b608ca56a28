/** The CPUID of a vCPU: what KVM supports minus the masked features, plus the vCPU's topology. */
import { checkFeatureNames, featureBit, withDependants } from './cpu-features.ts';
import { type CpuidEntry, decodeCpuid, encodeCpuid, withBit } from './cpuid-entry.ts';
import { withTopology } from './cpuid-topology.ts';

export interface VcpuCpuid {
  /** Index of the vCPU, which is also its APIC id. */
  readonly cpu: number;
  /** Number of vCPUs, 1 to 255. */
  readonly cpus: number;
  /** Features to hide, by /proc/cpuinfo name. Features that depend on them are hidden too. */
  readonly mask: readonly string[];
  /**
   * KVM_CAP_TSC_DEADLINE_TIMER. KVM before Linux 6.15 does not report the timer in its supported
   * CPUID, so the VMM has to set the bit.
   */
  readonly tscDeadlineTimer?: boolean;
}

/** Leaf 1, ECX. */
const TSC_DEADLINE_TIMER_BIT = 24;
const HYPERVISOR_BIT = 31;

/** The XSAVE state components of each feature (Intel SDM volume 1, section 13.1). */
const XSAVE_COMPONENTS: Readonly<Record<string, readonly number[]>> = {
  avx: [2],
  mpx: [3, 4],
  avx512f: [5, 6, 7],
  pku: [9],
  amx_tile: [17, 18],
};

/** Size in bytes of the XSAVE area's legacy region and header, which are always present. */
const XSAVE_MIN_SIZE = 576;

/**
 * @param supported KVM_GET_SUPPORTED_CPUID, an array of `struct kvm_cpuid_entry2`
 * @returns an array of `struct kvm_cpuid_entry2` for KVM_SET_CPUID2
 * @throws TsvmError `invalid-config` for an unknown feature in the mask
 */
export function cpuidEntries(supported: Uint8Array, vcpu: VcpuCpuid): Uint8Array {
  checkFeatureNames(vcpu.mask);
  const hidden = withDependants(vcpu.mask);
  const entries = decodeCpuid(supported).map((entry) => asVirtualMachine(entry, vcpu));
  const masked = withoutXsaveState(withoutFeatures(entries, hidden), hidden);
  return encodeCpuid(withTopology(masked, vcpu.cpu, vcpu.cpus));
}

/**
 * The hidden features that have register state. A kernel that does not see such a feature does not
 * save its registers when it switches between programs.
 * @throws TsvmError `invalid-config` for an unknown feature
 */
export function hiddenRegisterFeatures(mask: readonly string[]): string[] {
  checkFeatureNames(mask);
  const hidden = withDependants(mask);
  return ['xsave', ...Object.keys(XSAVE_COMPONENTS)].filter((name) => hidden.has(name));
}

/**
 * Values for Linux's `clearcpuid=`, which hides features inside the guest where its CPUID cannot be
 * changed. It uses the same names, and clears dependent features by itself.
 * @throws TsvmError `invalid-config` for an unknown feature
 */
export function clearCpuidWords(mask: readonly string[]): string[] {
  checkFeatureNames(mask);
  return [...new Set(mask)];
}

function asVirtualMachine(entry: CpuidEntry, { tscDeadlineTimer }: VcpuCpuid): CpuidEntry {
  if (entry.function !== 1) return entry;
  const ecx = withBit(entry.ecx, HYPERVISOR_BIT, true);
  return { ...entry, ecx: tscDeadlineTimer ? withBit(ecx, TSC_DEADLINE_TIMER_BIT, true) : ecx };
}

function withoutFeatures(
  entries: readonly CpuidEntry[],
  hidden: ReadonlySet<string>,
): CpuidEntry[] {
  const bits = [...hidden].map(featureBit).filter((bit) => bit !== undefined);
  return entries.map((entry) => {
    let edited = entry;
    for (const { function: leaf, index, register, bit } of bits) {
      if (leaf !== entry.function || index !== entry.index) continue;
      edited = { ...edited, [register]: withBit(edited[register], bit, false) };
    }
    return edited;
  });
}

/**
 * Leaf 0xD without the state of hidden features. It follows the mask and not the feature bits: KVM
 * derives the allowed XCR0 bits from this leaf, and kvm-pvm lists state components of features that
 * it does not report in leaf 1.
 */
function withoutXsaveState(
  entries: readonly CpuidEntry[],
  hidden: ReadonlySet<string>,
): readonly CpuidEntry[] {
  if (hidden.has('xsave')) return entries.filter((entry) => entry.function !== 0xd);
  const components = new Set([...hidden].flatMap((name) => XSAVE_COMPONENTS[name] ?? []));
  const noSupervisorState = hidden.has('xsaves');
  if (components.size === 0 && !noSupervisorState) return entries;

  const kept = entries.filter((entry) => {
    if (entry.function !== 0xd || entry.index < 2) return true;
    return !components.has(entry.index) && !(noSupervisorState && isSupervisorState(entry));
  });
  const ends = kept
    .filter((entry) => entry.function === 0xd && entry.index >= 2 && !isSupervisorState(entry))
    .map((entry) => entry.ebx + entry.eax);
  const size = Math.max(XSAVE_MIN_SIZE, ...ends);
  return kept.map((entry) => {
    if (entry.function !== 0xd) return entry;
    if (entry.index === 0) {
      const eax = [...components].reduce((bits, each) => withBit(bits, each, false), entry.eax);
      return { ...entry, eax, ebx: Math.min(entry.ebx, size), ecx: size };
    }
    if (entry.index === 1 && noSupervisorState) return { ...entry, ebx: 0, ecx: 0, edx: 0 };
    return entry;
  });
}

/** True for a supervisor state component, which XSAVES saves and XSAVE does not. */
function isSupervisorState(entry: CpuidEntry): boolean {
  return (entry.ecx & 1) !== 0;
}
