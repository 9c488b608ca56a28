/** Registers and GDT of the boot vCPU at the kernel's entry point. */
import { composeGdt } from './gdt.ts';
import {
  BOOT_GDT_GPA,
  BOOT_STACK_TOP_GPA,
  PAGE_TABLES_GPA,
  PVH_START_INFO_GPA,
  ZERO_PAGE_GPA,
} from './layout.ts';
import type { KvmRegs, KvmSegment, KvmSregs } from './registers.ts';

export interface InitialState {
  /** Registers left out are 0. */
  readonly regs: Partial<KvmRegs>;
  /** Registers left out keep KVM's reset values. */
  readonly sregs: Partial<KvmSregs>;
  /** To be written at `sregs.gdt.base`. */
  readonly gdt: Uint8Array;
}

/** Intel SDM volume 3, section 2.5, "Control Registers". */
const CR0_PE = 1n << 0n;
const CR0_MP = 1n << 1n;
const CR0_ET = 1n << 4n;
const CR0_NE = 1n << 5n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

/** Bit 1 is always set; IF is clear. */
const RFLAGS_FIXED = 1n << 1n;

/** Segment types with the accessed bit set: readable code, writable data; and a busy TSS. */
const TYPE_CODE = 0xb;
const TYPE_DATA = 0x3;
const TYPE_TSS_BUSY = 0xb;

/** __BOOT_CS and __BOOT_DS: Linux's boot protocols fix both. PVH leaves them free. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;
const BOOT_TR = 0x20;

const FLAT: Omit<KvmSegment, 'selector' | 'type' | 'db' | 'l'> = {
  base: 0n,
  limit: 0xffffffff,
  present: 1,
  dpl: 0,
  s: 1,
  g: 1,
  avl: 0,
  unusable: 0,
};
const CODE_64: KvmSegment = { ...FLAT, selector: BOOT_CS, type: TYPE_CODE, l: 1, db: 0 };
const CODE_32: KvmSegment = { ...FLAT, selector: BOOT_CS, type: TYPE_CODE, l: 0, db: 1 };
const DATA: KvmSegment = { ...FLAT, selector: BOOT_DS, type: TYPE_DATA, l: 0, db: 1 };
const TSS_32: KvmSegment = {
  ...FLAT,
  selector: BOOT_TR,
  limit: 0x67,
  type: TYPE_TSS_BUSY,
  s: 0,
  g: 0,
  l: 0,
  db: 0,
};

/** No IDT: an exception before the kernel loads its own IDT is a triple fault. */
const NO_TABLE = { base: 0n, limit: 0 };

/**
 * Linux's 64-bit entry (boot.rst, "64-bit Boot Protocol"): long mode in an identity map, flat
 * segments, interrupts off, RSI = zero page.
 */
export function linux64State(rip: number): InitialState {
  const gdt = composeGdt([CODE_64, DATA]);
  return {
    regs: {
      rip: BigInt(rip),
      rsp: BigInt(BOOT_STACK_TOP_GPA),
      rsi: BigInt(ZERO_PAGE_GPA),
      rflags: RFLAGS_FIXED,
    },
    sregs: {
      cs: CODE_64,
      ...flatData(),
      ...tables(gdt),
      cr0: CR0_PG | CR0_NE | CR0_ET | CR0_MP | CR0_PE,
      cr3: BigInt(PAGE_TABLES_GPA),
      cr4: CR4_PAE,
      efer: EFER_LME | EFER_LMA,
    },
    gdt,
  };
}

/**
 * Linux's 32-bit entry (boot.rst, "32-bit Boot Protocol"): protected mode without paging, flat segments,
 * interrupts off, ESI = zero page, EBP, EDI and EBX 0.
 */
export function linux32State(rip: number): InitialState {
  const gdt = composeGdt([CODE_32, DATA, TSS_32]);
  return {
    regs: {
      rip: BigInt(rip),
      rsp: BigInt(BOOT_STACK_TOP_GPA),
      rsi: BigInt(ZERO_PAGE_GPA),
      rflags: RFLAGS_FIXED,
    },
    sregs: protectedMode(gdt),
    gdt,
  };
}

/**
 * The PVH entry (Xen, docs/misc/pvh.pandoc): 32-bit protected mode without paging, flat segments,
 * a busy TSS, all other bits of CR0 and CR4 clear, interrupts off, EBX = start info.
 */
export function pvhState(rip: number): InitialState {
  const gdt = composeGdt([CODE_32, DATA, TSS_32]);
  return {
    regs: { rip: BigInt(rip), rbx: BigInt(PVH_START_INFO_GPA), rflags: RFLAGS_FIXED },
    sregs: protectedMode(gdt),
    gdt,
  };
}

function protectedMode(gdt: Uint8Array): InitialState['sregs'] {
  return {
    cs: CODE_32,
    ...flatData(),
    tr: TSS_32,
    ...tables(gdt),
    cr0: CR0_ET | CR0_PE,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
  };
}

function flatData(): Pick<KvmSregs, 'ds' | 'es' | 'fs' | 'gs' | 'ss'> {
  return { ds: DATA, es: DATA, fs: DATA, gs: DATA, ss: DATA };
}

function tables(gdt: Uint8Array): Pick<KvmSregs, 'gdt' | 'idt'> {
  return { gdt: { base: BigInt(BOOT_GDT_GPA), limit: gdt.byteLength - 1 }, idt: NO_TABLE };
}
