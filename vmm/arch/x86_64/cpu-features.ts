/**
 * CPU features under their /proc/cpuinfo names, with their CPUID bits and dependencies. Intel SDM
 * volume 2, CPUID; AMD APM volume 3, appendix E; names as in Linux 6.12.
 */
import { TsvmError } from '../../errors.ts';

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx';

/** The CPUID leaf, subleaf, register and bit of a feature. */
export interface FeatureBit {
  readonly function: number;
  readonly index: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

interface FeatureWord {
  readonly function: number;
  readonly index: number;
  readonly register: CpuidRegister;
  readonly bits: Readonly<Record<string, number>>;
}

/** The x86-64 baseline (FPU, SSE2, ...) is left out: no kernel runs without it. */
const FEATURE_WORDS: readonly FeatureWord[] = [
  {
    function: 1,
    index: 0,
    register: 'ecx',
    bits: {
      pni: 0,
      pclmulqdq: 1,
      monitor: 3,
      vmx: 5,
      ssse3: 9,
      fma: 12,
      cx16: 13,
      pcid: 17,
      sse4_1: 19,
      sse4_2: 20,
      x2apic: 21,
      movbe: 22,
      popcnt: 23,
      tsc_deadline_timer: 24,
      aes: 25,
      xsave: 26,
      avx: 28,
      f16c: 29,
      rdrand: 30,
    },
  },
  { function: 6, index: 0, register: 'eax', bits: { arat: 2 } },
  {
    function: 7,
    index: 0,
    register: 'ebx',
    bits: {
      fsgsbase: 0,
      tsc_adjust: 1,
      bmi1: 3,
      hle: 4,
      avx2: 5,
      smep: 7,
      bmi2: 8,
      erms: 9,
      invpcid: 10,
      rtm: 11,
      mpx: 14,
      avx512f: 16,
      avx512dq: 17,
      rdseed: 18,
      adx: 19,
      smap: 20,
      avx512ifma: 21,
      clflushopt: 23,
      clwb: 24,
      avx512pf: 26,
      avx512er: 27,
      avx512cd: 28,
      sha_ni: 29,
      avx512bw: 30,
      avx512vl: 31,
    },
  },
  {
    function: 7,
    index: 0,
    register: 'ecx',
    bits: {
      avx512vbmi: 1,
      umip: 2,
      pku: 3,
      waitpkg: 5,
      avx512_vbmi2: 6,
      gfni: 8,
      vaes: 9,
      vpclmulqdq: 10,
      avx512_vnni: 11,
      avx512_bitalg: 12,
      avx512_vpopcntdq: 14,
      la57: 16,
      rdpid: 22,
      cldemote: 25,
      movdiri: 27,
      movdir64b: 28,
      enqcmd: 29,
    },
  },
  {
    function: 7,
    index: 0,
    register: 'edx',
    bits: {
      avx512_4vnniw: 2,
      avx512_4fmaps: 3,
      fsrm: 4,
      avx512_vp2intersect: 8,
      serialize: 14,
      ibt: 20,
      amx_bf16: 22,
      avx512_fp16: 23,
      amx_tile: 24,
      amx_int8: 25,
      flush_l1d: 28,
      arch_capabilities: 29,
    },
  },
  { function: 7, index: 1, register: 'eax', bits: { avx_vnni: 4, avx512_bf16: 5 } },
  {
    function: 0xd,
    index: 1,
    register: 'eax',
    bits: { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3 },
  },
  {
    function: 0x80000001,
    index: 0,
    register: 'ecx',
    bits: {
      lahf_lm: 0,
      svm: 2,
      abm: 5,
      sse4a: 6,
      misalignsse: 7,
      '3dnowprefetch': 8,
      osvw: 9,
      xop: 11,
      fma4: 16,
      tbm: 21,
      topoext: 22,
      perfctr_core: 23,
    },
  },
  {
    function: 0x80000001,
    index: 0,
    register: 'edx',
    bits: { nx: 20, mmxext: 22, fxsr_opt: 25, pdpe1gb: 26, rdtscp: 27 },
  },
  {
    function: 0x80000008,
    index: 0,
    register: 'ebx',
    bits: { clzero: 0, xsaveerptr: 2, rdpru: 4, wbnoinvd: 9 },
  },
];

/** The features that a feature depends on directly. */
const REQUIRES: Readonly<Record<string, readonly string[]>> = {
  xsaveopt: ['xsave'],
  xsavec: ['xsave'],
  xgetbv1: ['xsave'],
  xsaves: ['xsave'],
  avx: ['xsave'],
  mpx: ['xsave'],
  pku: ['xsave'],
  amx_tile: ['xsave'],
  amx_bf16: ['amx_tile'],
  amx_int8: ['amx_tile'],
  enqcmd: ['xsaves'],
  fma: ['avx'],
  f16c: ['avx'],
  avx2: ['avx'],
  fma4: ['avx'],
  xop: ['avx'],
  vaes: ['avx', 'aes'],
  vpclmulqdq: ['avx', 'pclmulqdq'],
  avx_vnni: ['avx2'],
  avx512f: ['avx2', 'fma', 'f16c'],
  avx512dq: ['avx512f'],
  avx512ifma: ['avx512f'],
  avx512pf: ['avx512f'],
  avx512er: ['avx512f'],
  avx512cd: ['avx512f'],
  avx512bw: ['avx512f'],
  avx512vl: ['avx512f'],
  avx512_vpopcntdq: ['avx512f'],
  avx512_4vnniw: ['avx512f'],
  avx512_4fmaps: ['avx512f'],
  avx512_vp2intersect: ['avx512f'],
  avx512vbmi: ['avx512bw'],
  avx512_vbmi2: ['avx512bw'],
  avx512_bitalg: ['avx512bw'],
  avx512_bf16: ['avx512bw'],
  avx512_fp16: ['avx512bw'],
  avx512_vnni: ['avx512f'],
  sse4_1: ['ssse3'],
  sse4_2: ['sse4_1'],
  ssse3: ['pni'],
  invpcid: ['pcid'],
};

const FEATURES: ReadonlyMap<string, FeatureBit> = new Map(
  FEATURE_WORDS.flatMap(({ bits, ...word }) =>
    Object.entries(bits).map(([name, bit]): [string, FeatureBit] => [name, { ...word, bit }]),
  ),
);

/** All names that {@link checkFeatureNames} knows. */
export function featureNames(): readonly string[] {
  return [...FEATURES.keys()];
}

/** Undefined for a name that is not in the table. */
export function featureBit(name: string): FeatureBit | undefined {
  return FEATURES.get(name);
}

/** @throws TsvmError `invalid-config` for a name not in the table; suggests similar names */
export function checkFeatureNames(names: Iterable<string>): void {
  for (const name of names) {
    if (FEATURES.has(name)) continue;
    throw new TsvmError(
      'invalid-config',
      `"${name}" is not a CPU feature that can be masked: did you mean ${nearestNames(name).join(', ')}? ` +
        'Use the names in /proc/cpuinfo',
    );
  }
}

/** The features and everything that depends on them, directly or indirectly. */
export function withDependants(names: Iterable<string>): ReadonlySet<string> {
  const all = new Set(names);
  /* Iterating a Set also visits the elements added meanwhile. */
  for (const removed of all) {
    for (const [name, needs] of Object.entries(REQUIRES)) {
      if (needs.includes(removed)) all.add(name);
    }
  }
  return all;
}

function nearestNames(name: string): string[] {
  return [...FEATURES.keys()]
    .map((known) => ({ known, distance: editDistance(name, known) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ known }) => known);
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const deletion = (previous[column] ?? 0) + 1;
      const insertion = (current[column - 1] ?? 0) + 1;
      current.push(Math.min(substitution, deletion, insertion));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
