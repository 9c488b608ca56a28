/** The registers that GDB knows of an amd64 processor, and where KVM's structures have them. */
import type { CpuBlock, DebugTarget } from './target.ts';

type Place = { readonly block: CpuBlock; readonly offset: number; readonly bytes: number };

export interface GdbRegister {
  readonly name: string;
  /** Size in the protocol. */
  readonly bytes: number;
  /** GDB's name of its type. */
  readonly type: string;
  readonly feature: string;
  /** Undefined: it reads as 0. An MSR's number otherwise, or a place, of which the rest is 0. */
  readonly at: Place | { readonly msr: number } | undefined;
  /** GDB may set it. Selectors and control registers are changed by nothing but instructions. */
  readonly writable: boolean;
}

const CORE = 'org.gnu.gdb.i386.core';
const SSE = 'org.gnu.gdb.i386.sse';
const SEGMENTS = 'org.gnu.gdb.i386.segments';
const SYSTEM = 'org.tsvm.i386.system';

const MSR_KERNEL_GS_BASE = 0xc0000102;

/** `struct kvm_regs`. */
const REGS = 'rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags'.split(' ');
/** `struct kvm_sregs`: segments of 24 bytes, two descriptor tables of 16, control registers. */
const SEGMENT_NAMES = ['cs', 'ds', 'es', 'fs', 'gs', 'ss'];
const SEGMENT_BYTES = 24;
const SELECTOR_OFFSET = 12;
const CONTROLS_OFFSET = 224;
const CONTROLS = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'];
/** FXSAVE in 64-bit mode (SDM 1 10.5.1), at the start of `struct kvm_xsave`. */
const FXSAVE_TAGS = 4;
const FXSAVE_MXCSR = 24;
const FXSAVE_ST = 32;
const FXSAVE_XMM = 160;
/** XSTATE_BV: which parts of the area are in use; others count as reset. */
const XSTATE_BV_OFFSET = 512;
const XSTATE_X87_AND_SSE = 3;

function general(name: string, type = 'int64', field = name, bytes = 8): GdbRegister {
  const at = { block: 'regs', offset: REGS.indexOf(field) * 8, bytes } as const;
  return { name, bytes, type, feature: CORE, at, writable: true };
}

function selector(name: string): GdbRegister {
  const offset = SEGMENT_NAMES.indexOf(name) * SEGMENT_BYTES + SELECTOR_OFFSET;
  const at = { block: 'sregs', offset, bytes: 2 } as const;
  return { name, bytes: 4, type: 'int32', feature: CORE, at, writable: false };
}

function base(name: string, segment: string): GdbRegister {
  const offset = SEGMENT_NAMES.indexOf(segment) * SEGMENT_BYTES;
  const at = { block: 'sregs', offset, bytes: 8 } as const;
  return { name, bytes: 8, type: 'int64', feature: SEGMENTS, at, writable: true };
}

function x87(name: string, offset?: number, bytes = 2): GdbRegister {
  const at = offset === undefined ? undefined : ({ block: 'xsave', offset, bytes } as const);
  // The tags are stored in another form.
  const writable = at !== undefined && offset !== FXSAVE_TAGS;
  return { name, bytes: 4, type: 'int', feature: CORE, at, writable };
}

function vector(name: string, type: string, feature: string, offset: number, bytes: number) {
  const at = { block: 'xsave', offset, bytes } as const;
  return { name, bytes, type, feature, at, writable: true };
}

function control(name: string): GdbRegister {
  const offset = CONTROLS_OFFSET + CONTROLS.indexOf(name) * 8;
  const at = { block: 'sregs', offset, bytes: 8 } as const;
  return { name, bytes: 8, type: 'int64', feature: SYSTEM, at, writable: false };
}

const eight = Array.from({ length: 8 }, (_, index) => index);
const sixteen = Array.from({ length: 16 }, (_, index) => index);

/** By their number in the protocol. The order up to `fop` is GDB's, which it requires. */
export const REGISTERS: readonly GdbRegister[] = [
  ...['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi'].map((name) => general(name)),
  general('rbp', 'data_ptr'),
  general('rsp', 'data_ptr'),
  ...REGS.slice(8, 16).map((name) => general(name)),
  general('rip', 'code_ptr'),
  general('eflags', 'i386_eflags', 'rflags', 4),
  ...['cs', 'ss', 'ds', 'es', 'fs', 'gs'].map(selector),
  ...eight.map((i) => vector(`st${i}`, 'i387_ext', CORE, FXSAVE_ST + 16 * i, 10)),
  x87('fctrl', 0),
  x87('fstat', 2),
  x87('ftag', FXSAVE_TAGS, 1),
  x87('fiseg'),
  x87('fioff', 8, 4),
  x87('foseg'),
  x87('fooff', 16, 4),
  x87('fop', 6),
  ...sixteen.map((i) => vector(`xmm${i}`, 'vec128', SSE, FXSAVE_XMM + 16 * i, 16)),
  vector('mxcsr', 'i386_mxcsr', SSE, FXSAVE_MXCSR, 4),
  base('fs_base', 'fs'),
  base('gs_base', 'gs'),
  {
    name: 'k_gs_base',
    bytes: 8,
    type: 'int64',
    feature: SYSTEM,
    at: { msr: MSR_KERNEL_GS_BASE },
    writable: false,
  },
  ...CONTROLS.map(control),
];

export function registerNumber(name: string): number {
  return REGISTERS.findIndex((register) => register.name === name);
}

/** The state of one vCPU, of which each block is read once and written back if it was changed. */
export class CpuRegisters {
  readonly #target: DebugTarget;
  readonly #cpu: number;
  readonly #blocks = new Map<CpuBlock, Uint8Array>();
  readonly #changed = new Set<CpuBlock>();

  constructor(target: DebugTarget, cpu: number) {
    this.#target = target;
    this.#cpu = cpu;
  }

  /** The register's bytes in the protocol: little-endian. */
  read(register: GdbRegister): Uint8Array {
    const value = new Uint8Array(register.bytes);
    const { at } = register;
    if (at === undefined) return value;
    if ('msr' in at) {
      const msr = this.#target.readMsr(this.#cpu, at.msr);
      new DataView(value.buffer).setBigUint64(0, msr, true);
      return value;
    }
    const block = this.#block(at.block);
    if (register.name === 'ftag') new DataView(value.buffer).setUint16(0, fullTags(block), true);
    else value.set(block.subarray(at.offset, at.offset + at.bytes));
    return value;
  }

  /** As an unsigned number, of registers up to 64 bits. */
  number(name: string): bigint {
    const register = REGISTERS[registerNumber(name)];
    if (register === undefined) throw new RangeError(`no register ${name}`);
    return this.read(register).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }

  /** @returns false for a register that cannot be set, or a value of another size */
  write(register: GdbRegister, value: Uint8Array): boolean {
    const { at, writable, bytes } = register;
    if (!writable || at === undefined || 'msr' in at || value.byteLength !== bytes) return false;
    const block = this.#block(at.block);
    block.set(value.subarray(0, at.bytes), at.offset);
    if (at.block === 'xsave') {
      const inUse = block[XSTATE_BV_OFFSET] ?? 0;
      block[XSTATE_BV_OFFSET] = inUse | XSTATE_X87_AND_SSE;
    }
    this.#changed.add(at.block);
    return true;
  }

  /** Gives the vCPU what was written. */
  flush(): void {
    for (const block of this.#changed) this.#target.writeCpu(this.#cpu, block, this.#block(block));
    this.#changed.clear();
  }

  #block(block: CpuBlock): Uint8Array {
    let bytes = this.#blocks.get(block);
    if (bytes === undefined) {
      bytes = Uint8Array.from(this.#target.readCpu(this.#cpu, block));
      this.#blocks.set(block, bytes);
    }
    return bytes;
  }
}

const TAG_VALID = 0;
const TAG_ZERO = 1;
const TAG_SPECIAL = 2;
const TAG_EMPTY = 3;

/** The x87 tag word from what FXSAVE has of it (SDM 1 10.5.1.1): what each register contains. */
function fullTags(fxsave: Uint8Array): number {
  const view = new DataView(fxsave.buffer, fxsave.byteOffset, fxsave.byteLength);
  const top = (view.getUint16(2, true) >> 11) & 7;
  const used = view.getUint8(FXSAVE_TAGS);
  return eight.reduce((tags, physical) => {
    const offset = FXSAVE_ST + 16 * ((physical - top) & 7);
    const isUsed = (used >> physical) & 1;
    const tag = isUsed ? contentTag(view, offset) : TAG_EMPTY;
    return tags | (tag << (2 * physical));
  }, 0);
}

function contentTag(view: DataView, offset: number): number {
  const exponent = view.getUint16(offset + 8, true) & 0x7fff;
  const mantissa = view.getBigUint64(offset, true);
  if (exponent === 0 && mantissa === 0n) return TAG_ZERO;
  return exponent === 0 || exponent === 0x7fff || mantissa >> 63n === 0n ? TAG_SPECIAL : TAG_VALID;
}
