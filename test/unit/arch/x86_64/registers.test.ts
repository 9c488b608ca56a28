import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeRegs,
  decodeSregs,
  encodeRegs,
  KVM_REGS_SIZE,
  KVM_SREGS_SIZE,
  type KvmRegs,
  type KvmSegment,
  type KvmSregs,
  patchSregs,
} from '../../../../vmm/arch/x86_64/registers.ts';
import { evaluateC } from './c-oracle.ts';

const REGS = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const;
const REGS_HIGH = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'] as const;
const ALL_REGS = [...REGS, ...REGS_HIGH];
const SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const CONTROLS = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apic_base'] as const;
/** Width in bits of the fields of `struct kvm_segment`. */
const SEGMENT_FIELDS = {
  base: 64,
  limit: 32,
  selector: 16,
  type: 8,
  present: 8,
  dpl: 8,
  db: 8,
  s: 8,
  l: 8,
  g: 8,
  avl: 8,
  unusable: 8,
} as const;

const HEADERS = ['linux/kvm.h'];

function offsets(struct: string, fields: readonly string[]): Record<string, number> {
  const expressions = fields.map((field) => `offsetof(struct ${struct}, ${field})`);
  const values = evaluateC(HEADERS, expressions);
  return Object.fromEntries(fields.map((f, i) => [f, values[expressions[i] ?? ''] ?? Number.NaN]));
}

/** Offsets of the bytes that differ. */
function changedBytes(before: Uint8Array, after: Uint8Array): number[] {
  return [...after.keys()].filter((index) => before[index] !== after[index]);
}

function range(start: number, length: number): number[] {
  return Array.from({ length }, (_, i) => start + i);
}

test("the structures are as long as KVM's", () => {
  const sizes = evaluateC(HEADERS, ['sizeof(struct kvm_regs)', 'sizeof(struct kvm_sregs)']);
  assert.equal(KVM_REGS_SIZE, sizes['sizeof(struct kvm_regs)']);
  assert.equal(KVM_SREGS_SIZE, sizes['sizeof(struct kvm_sregs)']);
});

test('each general register is at KVM’s offset', () => {
  const at = offsets('kvm_regs', ALL_REGS);
  for (const name of ALL_REGS) {
    const bytes = encodeRegs({ [name]: 2n ** 64n - 1n });
    assert.deepEqual(changedBytes(encodeRegs({}), bytes), range(at[name] ?? -1, 8), name);
  }
});

test('each special register is at KVM’s offset, and nothing else changes', () => {
  const segmentFields = Object.keys(SEGMENT_FIELDS) as (keyof KvmSegment)[];
  const at = offsets('kvm_sregs', [
    ...SEGMENTS.flatMap((segment) => segmentFields.map((field) => `${segment}.${field}`)),
    ...['gdt.base', 'gdt.limit', 'idt.base', 'idt.limit'],
    ...CONTROLS,
  ]);
  const before = new Uint8Array(KVM_SREGS_SIZE);
  const zeroes = decodeSregs(before);
  const check = (name: string, patch: Partial<KvmSregs>, bits: number) => {
    const changed = changedBytes(before, patchSregs(before, patch));
    assert.deepEqual(changed, range(at[name] ?? -1, bits / 8), name);
  };
  for (const segment of SEGMENTS) {
    for (const field of segmentFields) {
      const bits = SEGMENT_FIELDS[field];
      const ones = bits === 64 ? 2n ** 64n - 1n : 2 ** bits - 1;
      check(`${segment}.${field}`, { [segment]: { ...zeroes[segment], [field]: ones } }, bits);
    }
  }
  for (const table of ['gdt', 'idt'] as const) {
    check(`${table}.base`, { [table]: { base: 2n ** 64n - 1n, limit: 0 } }, 64);
    check(`${table}.limit`, { [table]: { base: 0n, limit: 0xffff } }, 16);
  }
  for (const name of CONTROLS) check(name, { [name]: 2n ** 64n - 1n }, 64);
});

test('decoding inverts encoding', () => {
  const regs = Object.fromEntries(
    ALL_REGS.map((name, index) => [name, (1n << 63n) + BigInt(index)]),
  ) as KvmRegs;
  assert.deepEqual(decodeRegs(encodeRegs(regs)), regs);

  const bytes = Uint8Array.from({ length: KVM_SREGS_SIZE }, (_, index) => index & 0xff);
  const sregs = decodeSregs(bytes);
  assert.deepEqual(decodeSregs(patchSregs(new Uint8Array(KVM_SREGS_SIZE), sregs)), sregs);
  assert.deepEqual(patchSregs(bytes, sregs), bytes);
  assert.deepEqual(patchSregs(bytes, {}), bytes);
});

test('the bytes that are patched are a copy, also of a part of a buffer', () => {
  const buffer = new Uint8Array(KVM_SREGS_SIZE + 8).fill(7);
  const part = buffer.subarray(8);
  const patched = patchSregs(part, { cr3: 0x3000n });
  assert.equal(decodeSregs(patched).cr3, 0x3000n);
  assert.ok(buffer.every((byte) => byte === 7));
});

test('bytes of another length are refused', () => {
  for (const size of [0, KVM_REGS_SIZE - 1, KVM_SREGS_SIZE + 1]) {
    assert.throws(() => decodeRegs(new Uint8Array(size)), RangeError);
    assert.throws(() => decodeSregs(new Uint8Array(size)), RangeError);
    assert.throws(() => patchSregs(new Uint8Array(size), {}), RangeError);
  }
});
