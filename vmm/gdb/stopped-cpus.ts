/** What a client asks of the stopped vCPUs: registers, memory, breakpoints. Threads are vCPUs. */
import {
  BREAKPOINT_KINDS,
  type Breakpoint,
  type BreakpointKind,
  Breakpoints,
} from './breakpoints.ts';
import { GuestSpace } from './guest-space.ts';
import { fromHex, PACKET_BYTES_MAX, toHex } from './packets.ts';
import { CpuRegisters, REGISTERS } from './registers.ts';
import type { DebugTarget } from './target.ts';

/** Error numbers, as GDB's own stubs have them. */
export const ERROR_FAULT = 'E14';
export const ERROR_INVALID = 'E22';
const ERROR_NO_SPACE = 'E28';
/** Not known: an empty answer. */
const UNSUPPORTED = '';

const MEMORY_BYTES_MAX = PACKET_BYTES_MAX / 2;

export class StoppedCpus {
  readonly breakpoints: Breakpoints;
  readonly #target: DebugTarget;
  /** The vCPU that registers and virtual addresses are of. */
  #cpu = 0;
  #registers: CpuRegisters | undefined;
  #space: GuestSpace | undefined;

  constructor(target: DebugTarget) {
    this.#target = target;
    this.breakpoints = new Breakpoints(target);
  }

  get cpu(): number {
    return this.#cpu;
  }

  select(cpu: number): void {
    this.forget();
    this.#cpu = cpu;
  }

  /** What was read of a vCPU holds until it runs. */
  forget(): void {
    this.#registers = undefined;
    this.#space = undefined;
  }

  get registers(): CpuRegisters {
    this.#registers ??= new CpuRegisters(this.#target, this.#cpu);
    return this.#registers;
  }

  get #addresses(): GuestSpace {
    this.#space ??= new GuestSpace(this.#target.memory, this.registers);
    return this.#space;
  }

  /** `g` */
  readAll(): string {
    return REGISTERS.map((register) => toHex(this.registers.read(register))).join('');
  }

  /** `G`. Registers that cannot be set keep their values. */
  writeAll(digits: string): string {
    const bytes = fromHex(digits);
    const size = REGISTERS.reduce((sum, register) => sum + register.bytes, 0);
    if (bytes?.byteLength !== size) return ERROR_INVALID;
    let offset = 0;
    for (const register of REGISTERS) {
      this.registers.write(register, bytes.subarray(offset, offset + register.bytes));
      offset += register.bytes;
    }
    return this.#flush();
  }

  /** `p NUMBER` */
  readOne(number: string): string {
    const register = REGISTERS[parseInt(number, 16)];
    return register === undefined ? ERROR_INVALID : toHex(this.registers.read(register));
  }

  /** `P NUMBER=VALUE` */
  writeOne(text: string): string {
    const [, number = '', digits = ''] = /^([\da-f]{1,4})=([\da-f]*)$/i.exec(text) ?? [];
    const register = REGISTERS[parseInt(number, 16)];
    const value = fromHex(digits);
    const isSet =
      register !== undefined && value !== undefined && this.registers.write(register, value);
    return isSet ? this.#flush() : ERROR_INVALID;
  }

  /** `m ADDRESS,LENGTH` */
  readMemory(text: string): string {
    const range = parseRange(text);
    if (range === undefined) return ERROR_INVALID;
    const bytes = this.#addresses.read(range.va, Math.min(range.length, MEMORY_BYTES_MAX));
    return bytes.byteLength === 0 && range.length > 0 ? ERROR_FAULT : toHex(bytes);
  }

  /** `M ADDRESS,LENGTH:DIGITS` or, if `isBinary`, `X ADDRESS,LENGTH:BYTES` */
  writeMemory(text: string, isBinary: boolean): string {
    const colon = text.indexOf(':');
    const range = colon < 0 ? undefined : parseRange(text.slice(0, colon));
    const data = text.slice(colon + 1);
    const bytes = isBinary ? Buffer.from(data, 'latin1') : fromHex(data);
    if (range === undefined || bytes?.byteLength !== range.length) return ERROR_INVALID;
    return this.#addresses.write(range.va, bytes) ? 'OK' : ERROR_FAULT;
  }

  /** `Z KIND,ADDRESS,BYTES` and `z` */
  changeBreakpoint(text: string, inserts: boolean): string {
    const [, digit = '', rest = ''] = /^(\d),(.*)$/.exec(text) ?? [];
    const kind: BreakpointKind | undefined = BREAKPOINT_KINDS[Number(digit)];
    if (digit === '' || kind === undefined) return UNSUPPORTED;
    const range = parseRange(rest);
    if (range === undefined || range.length === 0) return ERROR_INVALID;
    const breakpoint: Breakpoint = { kind, va: range.va, bytes: range.length };
    if (!inserts) {
      this.breakpoints.remove(breakpoint);
      return 'OK';
    }
    const outcome = this.breakpoints.insert(breakpoint, (va) => this.#addresses.translate(va));
    return { ok: 'OK', unmapped: ERROR_FAULT, full: ERROR_NO_SPACE }[outcome];
  }

  #flush(): string {
    // A vCPU may refuse values, such as an address that is not canonical.
    try {
      this.registers.flush();
    } catch {
      this.forget();
      return ERROR_INVALID;
    }
    // The page tables may be others now.
    this.#space = undefined;
    return 'OK';
  }
}

function parseRange(text: string): { va: bigint; length: number } | undefined {
  const [, address, length = ''] = /^([\da-f]{1,16}),([\da-f]{1,8})$/i.exec(text) ?? [];
  if (address === undefined) return undefined;
  return { va: BigInt(`0x${address}`), length: parseInt(length, 16) };
}
