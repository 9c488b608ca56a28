/** `struct kvm_cpuid_entry2`: Linux UAPI, arch/x86/include/uapi/asm/kvm.h. */

/** The CPUID values of one leaf or subleaf. Registers are unsigned 32-bit numbers. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** The leaf has subleaves, and `index` selects one. */
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;

/** Size of an entry in bytes; the last 12 are padding. */
export const CPUID_ENTRY_SIZE = 40;

const FIELDS = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'] as const;

/** @param bytes whole entries; a partial one at the end is ignored */
export function decodeCpuid(bytes: Uint8Array): CpuidEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = Math.floor(bytes.byteLength / CPUID_ENTRY_SIZE);
  return Array.from({ length: count }, (_, i) => {
    const word = (field: number) => view.getUint32(i * CPUID_ENTRY_SIZE + 4 * field, true);
    return {
      function: word(0),
      index: word(1),
      flags: word(2),
      eax: word(3),
      ebx: word(4),
      ecx: word(5),
      edx: word(6),
    };
  });
}

export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(entries.length * CPUID_ENTRY_SIZE));
  entries.forEach((entry, i) => {
    FIELDS.forEach((field, position) => {
      view.setUint32(i * CPUID_ENTRY_SIZE + 4 * position, entry[field], true);
    });
  });
  return new Uint8Array(view.buffer);
}

/** `value` with bits `high`..`low` replaced. */
export function withBits(value: number, high: number, low: number, bits: number): number {
  const mask = 2 ** (high - low + 1) - 1;
  return ((value & ~(mask << low)) | ((bits & mask) << low)) >>> 0;
}

/** `value` with one bit set or cleared. */
export function withBit(value: number, bit: number, set: boolean): number {
  return withBits(value, bit, bit, set ? 1 : 0);
}
