import assert from 'node:assert/strict';
import { test } from 'node:test';
import { composeGdt, encodeDescriptor } from '../../../../vmm/arch/x86_64/gdt.ts';
import { linux64State, pvhState } from '../../../../vmm/arch/x86_64/initial-state.ts';
import {
  BOOT_GDT_GPA,
  PAGE_TABLES_GPA,
  PVH_START_INFO_GPA,
  ZERO_PAGE_GPA,
} from '../../../../vmm/arch/x86_64/layout.ts';
import type { KvmSegment } from '../../../../vmm/arch/x86_64/registers.ts';

/** Reads a descriptor as the CPU does: Intel SDM volume 3, figure 3-8. */
function loadSegment(gdt: Uint8Array, selector: number): KvmSegment {
  const view = new DataView(gdt.buffer, gdt.byteOffset + selector, 8);
  const [low, high] = [view.getUint32(0, true), view.getUint32(4, true)];
  const bit = (index: number) => (high >>> index) & 1;
  const limit = ((high & 0xf0000) | (low & 0xffff)) >>> 0;
  return {
    base: BigInt(((high & 0xff000000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0),
    limit: bit(23) ? limit * 4096 + 4095 : limit,
    selector,
    type: (high >>> 8) & 0xf,
    s: bit(12),
    dpl: (high >>> 13) & 3,
    present: bit(15),
    avl: bit(20),
    l: bit(21),
    db: bit(22),
    g: bit(23),
    unusable: 0,
  };
}

test("the 64-bit entry is as Linux's boot protocol has it", () => {
  const { regs, sregs, gdt } = linux64State(0x1000123);
  assert.equal(regs.rip, 0x1000123n);
  assert.equal(regs.rsi, BigInt(ZERO_PAGE_GPA));
  assert.equal(regs.rflags, 2n);
  assert.equal(sregs.cs?.selector, 0x10);
  for (const name of ['ds', 'es', 'ss'] as const) assert.equal(sregs[name]?.selector, 0x18);
  // As Linux's own __BOOT_CS and __BOOT_DS are, with the accessed bit.
  const entries = new BigUint64Array(gdt.buffer);
  assert.deepEqual([...entries], [0n, 0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn]);
  assert.equal(sregs.cr3, BigInt(PAGE_TABLES_GPA));
  assert.equal(sregs.cr0, 0x80000033n);
  assert.equal(sregs.cr4, 0x20n);
  assert.equal(sregs.efer, 0x500n);
});

test('the PVH entry is as Xen has it', () => {
  const { regs, sregs } = pvhState(0x1000010);
  assert.equal(regs.rip, 0x1000010n);
  assert.equal(regs.rbx, BigInt(PVH_START_INFO_GPA));
  assert.equal((regs.rflags ?? 0n) & 0x20300n, 0n, 'VM, IF and TF are clear');
  assert.equal((sregs.cr0 ?? 0n) & ~0x10n, 1n, 'PE alone, but for ET, which is fixed');
  assert.equal(sregs.cr4, 0n);
  assert.equal(sregs.efer, 0n);
  assert.deepEqual([sregs.cs?.db, sregs.cs?.l, sregs.cs?.type], [1, 0, 0xb]);
  for (const segment of [sregs.cs, sregs.ds, sregs.es]) {
    assert.deepEqual([segment?.base, segment?.limit], [0n, 0xffffffff]);
  }
  assert.deepEqual([sregs.tr?.base, sregs.tr?.limit, sregs.tr?.type], [0n, 0x67, 0xb]);
});

for (const [name, state] of [
  ['64-bit', linux64State(0)],
  ['PVH', pvhState(0)],
] as const) {
  test(`${name}: the GDT matches the segment registers`, () => {
    const { sregs, gdt } = state;
    assert.deepEqual(sregs.gdt, { base: BigInt(BOOT_GDT_GPA), limit: gdt.byteLength - 1 });
    for (const register of ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr'] as const) {
      const segment = sregs[register];
      if (segment) assert.deepEqual(loadSegment(gdt, segment.selector), segment);
    }
  });
}

test('every bit of a descriptor comes from its segment', () => {
  const segment: KvmSegment = {
    base: 0xdeadbeefn,
    limit: 0x1234567 * 16 + 0xfff,
    selector: 0x28,
    type: 9,
    s: 0,
    dpl: 3,
    present: 1,
    avl: 1,
    l: 0,
    db: 1,
    g: 1,
    unusable: 0,
  };
  const limit = (Math.floor(segment.limit / 4096) * 4096 + 4095) >>> 0;
  const gdt = composeGdt([segment]);
  assert.equal(gdt.byteLength, 0x30);
  assert.deepEqual(loadSegment(gdt, 0x28), { ...segment, limit });
  assert.ok(gdt.subarray(0, 0x28).every((byte) => byte === 0));
  const small = { ...segment, g: 0, limit: 0xabcde, base: 0n };
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, encodeDescriptor(small), true);
  assert.deepEqual(loadSegment(new Uint8Array(view.buffer), 0), { ...small, selector: 0 });
});
