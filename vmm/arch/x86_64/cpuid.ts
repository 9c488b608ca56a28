/** The CPUID of a vCPU: what KVM offers, less what the user masks, with the vCPU's place in it. */
import { checkFeatureNames, featureBit, withDependants } from './cpu-features.ts';
import { type CpuidEntry, decodeCpuid, encodeCpuid, withBit } from './cpuid-entry.ts';
import { withTopology } from './cpuid-topology.ts';

export interface VcpuCpuid {
  /** The vCPU; its APIC id is the same number. */
  readonly cpu: number;
  /** How many there are, 1 to 255. */
  readonly cpus: number;
  /** Features to hide, as /proc/cpuinfo names them; what needs them is hidden with them. */
  readonly mask: readonly string[];
  /**
   * KVM_CAP_TSC_DEADLINE_TIMER: KVM before Linux 6.15 has the timer and leaves it to us to say so.
   */
  readonly tscDeadlineTimer?: boolean;
}

/** Leaf 1, ECX. */
const TSC_DEADLINE_TIMER_BIT = 24;
const HYPERVISOR_BIT = 31;

/** State components of XSAVE by the feature that owns them (Intel SDM volume 1, section 13.1). */
const XSAVE_COMPONENTS: Readonly<Record<string, readonly number[]>> = {
  avx: [2],
  mpx: [3, 4],
  avx512f: [5, 6, 7],
  pku: [9],
  amx_tile: [17, 18],
};

/** Size in bytes of the XSAVE area's legacy part and header, which are always there. */
const XSAVE_MIN_SIZE = 576;

/**
 * @param supported KVM_GET_SUPPORTED_CPUID, an array of `struct kvm_cpuid_entry2`
 * @returns an array of the same kind, for KVM_SET_CPUID2
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
 * Which of the hidden features have registers that a kernel saves for programs, which it does not
 * when it knows nothing of them.
 * @throws TsvmError `invalid-config` for an unknown feature
 */
export function hiddenRegisterFeatures(mask: readonly string[]): string[] {
  checkFeatureNames(mask);
  const hidden = withDependants(mask);
  return ['xsave', ...Object.keys(XSAVE_COMPONENTS)].filter((name) => hidden.has(name));
}

/**
 * Words for Linux's `clearcpuid=`, which does the same in the guest where CPUID cannot be changed:
 * it knows the features by the names of /proc/cpuinfo too, and drops what needs them by itself.
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
 * derives from this leaf what a vCPU may put in XCR0, and kvm-pvm offers the state of features that
 * it leaves out of leaf 1.
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

/** A component that XSAVES keeps and XSAVE does not. */
function isSupervisorState(entry: CpuidEntry): boolean {
  return (entry.ecx & 1) !== 0;
}
