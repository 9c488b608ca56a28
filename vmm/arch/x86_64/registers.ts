/** KVM's register structures: Linux UAPI, arch/x86/include/uapi/asm/kvm.h. */

/** Fields of `struct kvm_regs`, in order. */
const REGS_ORDER = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
] as const;

/** General registers, each an unsigned 64-bit value. */
export type KvmRegs = Record<(typeof REGS_ORDER)[number], bigint>;

/** Size of `struct kvm_regs` in bytes. */
export const KVM_REGS_SIZE = 144;

/** `struct kvm_segment`: a segment register with its hidden part. One-bit fields are 0 or 1. */
export interface KvmSegment {
  readonly base: bigint;
  /** In bytes, regardless of `g`. */
  readonly limit: number;
  readonly selector: number;
  readonly type: number;
  readonly present: number;
  readonly dpl: number;
  readonly db: number;
  readonly s: number;
  readonly l: number;
  readonly g: number;
  readonly avl: number;
  readonly unusable: number;
}

/** `struct kvm_dtable`: GDTR or IDTR. */
export interface KvmDescriptorTable {
  readonly base: bigint;
  readonly limit: number;
}

const SEGMENTS_ORDER = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const SEGMENT_SIZE = 24;
const TABLES_ORDER = ['gdt', 'idt'] as const;
const TABLE_SIZE = 16;
const CONTROLS_ORDER = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apic_base'] as const;
const TABLES_OFFSET = SEGMENTS_ORDER.length * SEGMENT_SIZE;
const CONTROLS_OFFSET = TABLES_OFFSET + TABLES_ORDER.length * TABLE_SIZE;

/** `struct kvm_sregs` without its last field, `interrupt_bitmap`. */
export type KvmSregs = Record<(typeof SEGMENTS_ORDER)[number], KvmSegment> &
  Record<(typeof TABLES_ORDER)[number], KvmDescriptorTable> &
  Record<(typeof CONTROLS_ORDER)[number], bigint>;

/** Size of `struct kvm_sregs` in bytes. */
export const KVM_SREGS_SIZE = 312;

/** `struct kvm_regs`; registers left out are 0. */
export function encodeRegs(regs: Partial<KvmRegs>): Uint8Array {
  const bytes = new Uint8Array(KVM_REGS_SIZE);
  const view = new DataView(bytes.buffer);
  REGS_ORDER.forEach((name, index) => {
    view.setBigUint64(index * 8, regs[name] ?? 0n, true);
  });
  return bytes;
}

/** @throws RangeError unless `bytes` has the size of the structure */
export function decodeRegs(bytes: Uint8Array): KvmRegs {
  const view = viewOf(bytes, KVM_REGS_SIZE);
  const entries = REGS_ORDER.map((name, index) => [name, view.getBigUint64(index * 8, true)]);
  return Object.fromEntries(entries) as KvmRegs;
}

/**
 * A copy of a `struct kvm_sregs` with some registers replaced.
 * @param bytes the result of KVM_GET_SREGS; its other registers, such as IA32_APIC_BASE, are kept
 * @throws RangeError unless `bytes` has the size of the structure
 */
export function patchSregs(bytes: Uint8Array, patch: Partial<KvmSregs>): Uint8Array {
  viewOf(bytes, KVM_SREGS_SIZE);
  const patched = Uint8Array.from(bytes);
  const view = viewOf(patched, KVM_SREGS_SIZE);
  SEGMENTS_ORDER.forEach((name, index) => {
    const segment = patch[name];
    if (segment) writeSegment(view, index * SEGMENT_SIZE, segment);
  });
  TABLES_ORDER.forEach((name, index) => {
    const table = patch[name];
    if (!table) return;
    const offset = TABLES_OFFSET + index * TABLE_SIZE;
    view.setBigUint64(offset, table.base, true);
    view.setUint16(offset + 8, table.limit, true);
  });
  CONTROLS_ORDER.forEach((name, index) => {
    const value = patch[name];
    if (value !== undefined) view.setBigUint64(CONTROLS_OFFSET + index * 8, value, true);
  });
  return patched;
}

/** @throws RangeError unless `bytes` has the size of the structure */
export function decodeSregs(bytes: Uint8Array): KvmSregs {
  const view = viewOf(bytes, KVM_SREGS_SIZE);
  const segments = SEGMENTS_ORDER.map((name, index) => [
    name,
    readSegment(view, index * SEGMENT_SIZE),
  ]);
  const tables = TABLES_ORDER.map((name, index) => {
    const offset = TABLES_OFFSET + index * TABLE_SIZE;
    const base = view.getBigUint64(offset, true);
    return [name, { base, limit: view.getUint16(offset + 8, true) }];
  });
  const controls = CONTROLS_ORDER.map((name, index) => [
    name,
    view.getBigUint64(CONTROLS_OFFSET + index * 8, true),
  ]);
  return Object.fromEntries([...segments, ...tables, ...controls]) as KvmSregs;
}

/** The one-byte fields of `struct kvm_segment`, in order, from offset 14. */
const SEGMENT_BYTES_OFFSET = 14;
const SEGMENT_BYTES_ORDER = [
  'type',
  'present',
  'dpl',
  'db',
  's',
  'l',
  'g',
  'avl',
  'unusable',
] as const;

function writeSegment(view: DataView, offset: number, segment: KvmSegment): void {
  view.setBigUint64(offset, segment.base, true);
  view.setUint32(offset + 8, segment.limit, true);
  view.setUint16(offset + 12, segment.selector, true);
  SEGMENT_BYTES_ORDER.forEach((name, index) => {
    view.setUint8(offset + SEGMENT_BYTES_OFFSET + index, segment[name]);
  });
}

function readSegment(view: DataView, offset: number): KvmSegment {
  const bytes = SEGMENT_BYTES_ORDER.map((name, index) => [
    name,
    view.getUint8(offset + SEGMENT_BYTES_OFFSET + index),
  ]);
  return {
    base: view.getBigUint64(offset, true),
    limit: view.getUint32(offset + 8, true),
    selector: view.getUint16(offset + 12, true),
    ...(Object.fromEntries(bytes) as Record<(typeof SEGMENT_BYTES_ORDER)[number], number>),
  };
}

function viewOf(bytes: Uint8Array, size: number): DataView {
  if (bytes.byteLength !== size) {
    throw new RangeError(`${bytes.byteLength} bytes of registers instead of ${size}`);
  }
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
