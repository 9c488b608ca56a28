/**
 * The CPU topology in CPUID: one package, one core per vCPU, one thread per core, a last-level cache
 * shared by all. APIC ids are 0, 1, ... Intel SDM volume 3, chapter 9.9; AMD APM volume 3,
 * appendix E.
 */
import {
  type CpuidEntry,
  KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
  withBit,
  withBits,
} from './cpuid-entry.ts';

/** Levels of leaves 0xB and 0x1F. */
const LEVEL_SMT = 1;
const LEVEL_CORE = 2;

/** Leaf 0, EBX: the first four letters of "AuthenticAMD" and "HygonGenuine". */
const AMD_VENDORS: ReadonlySet<number> = new Set([0x68747541, 0x6f677948]);

/** Caches of this level and above are shared by the whole package. */
const SHARED_CACHE_LEVEL = 3;

/** A vCPU's place in the package. */
interface Place {
  readonly cpu: number;
  readonly cpus: number;
  /** Number of low APIC id bits that number the cores. */
  readonly idBits: number;
}

/**
 * @param cpu index of the vCPU, which is also its APIC id
 * @param cpus number of vCPUs, 1 to 255
 */
export function withTopology(
  entries: readonly CpuidEntry[],
  cpu: number,
  cpus: number,
): CpuidEntry[] {
  const place: Place = { cpu, cpus, idBits: Math.ceil(Math.log2(cpus)) };
  const leaf0 = entries.find((entry) => entry.function === 0);
  const vendorEntry = AMD_VENDORS.has(leaf0?.ebx ?? 0) ? amdEntry : intelEntry;
  const edited = entries
    .filter((entry) => entry.function !== 0xb && entry.function !== 0x1f)
    .map((entry) => vendorEntry(commonEntry(entry, place), place));
  const levels = [0xb, 0x1f].filter((leaf) => leaf <= (leaf0?.eax ?? 0));
  return [...edited, ...levels.flatMap((leaf) => topologyLevels(leaf, place))];
}

function commonEntry(entry: CpuidEntry, { cpu, cpus, idBits }: Place): CpuidEntry {
  if (entry.function !== 1) return entry;
  const logicalProcessors = withBits(entry.ebx, 23, 16, 2 ** idBits);
  return {
    ...entry,
    ebx: withBits(logicalProcessors, 31, 24, cpu),
    edx: withBit(entry.edx, 28, cpus > 1), // HTT: the number of logical processors is valid
  };
}

function intelEntry(entry: CpuidEntry, { idBits }: Place): CpuidEntry {
  if (entry.function !== 4 || !describesCache(entry)) return entry;
  const ids = 2 ** idBits - 1;
  const sharing = cacheLevel(entry) >= SHARED_CACHE_LEVEL ? ids : 0;
  return { ...entry, eax: withBits(withBits(entry.eax, 25, 14, sharing), 31, 26, ids) };
}

function amdEntry(entry: CpuidEntry, { cpu, cpus, idBits }: Place): CpuidEntry {
  switch (entry.function) {
    case 0x80000001:
      return { ...entry, ecx: withBit(entry.ecx, 1, cpus > 1) }; // CmpLegacy
    case 0x80000008:
      // NC, the number of threads minus 1; ApicIdSize, the number of APIC id bits.
      return { ...entry, ecx: withBits(withBits(entry.ecx, 7, 0, cpus - 1), 15, 12, idBits) };
    case 0x8000001d: {
      if (!describesCache(entry)) return entry;
      const sharing = cacheLevel(entry) >= SHARED_CACHE_LEVEL ? cpus - 1 : 0;
      return { ...entry, eax: withBits(entry.eax, 25, 14, sharing) };
    }
    case 0x8000001e:
      // APIC id; core id, one thread per core; node 0 of 1.
      return { ...entry, eax: cpu, ebx: cpu, ecx: 0, edx: 0 };
    default:
      return entry;
  }
}

/** Leaves 4 and 0x8000001D end with an entry of cache type 0. */
function describesCache(entry: CpuidEntry): boolean {
  return (entry.eax & 0x1f) !== 0;
}

function cacheLevel(entry: CpuidEntry): number {
  return (entry.eax >> 5) & 7;
}

/** The subleaves of 0xB or 0x1F; the last one, of type 0, ends the list. */
function topologyLevels(leaf: number, { cpu, cpus, idBits }: Place): CpuidEntry[] {
  const levels = [
    { shift: 0, processors: 1, type: LEVEL_SMT },
    { shift: idBits, processors: cpus, type: LEVEL_CORE },
    { shift: 0, processors: 0, type: 0 },
  ];
  return levels.map(({ shift, processors, type }, index) => ({
    function: leaf,
    index,
    flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
    eax: shift,
    ebx: processors,
    ecx: (type << 8) | index,
    edx: cpu,
  }));
}
