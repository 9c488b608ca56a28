/** The breakpoints and watchpoints that a client has set, and how the vCPUs stop at them. */
import { CAUSE_BREAKPOINT, CAUSE_REGISTERS, type CpuStop, type DebugTarget } from './target.ts';

/** Numbers of the protocol: Z0 to Z4. Processors have no watchpoints for reads alone. */
export const BREAKPOINT_KINDS = ['software', 'hardware', 'write', undefined, 'access'] as const;
export type BreakpointKind = NonNullable<(typeof BREAKPOINT_KINDS)[number]>;

/** A breakpoint at some bytes that are watched, or at an instruction. */
export interface Breakpoint {
  readonly kind: BreakpointKind;
  readonly va: bigint;
  /** Of what is watched; anything for instructions. */
  readonly bytes: number;
}

/** Where a breakpoint is. */
type Place =
  /** In the list of addresses, without or with an INT3 at a guest-physical address. */
  { readonly listed: bigint; readonly gpa?: number } | { readonly registers: readonly number[] };

/** Use of DR0 to DR3 (SDM 3B 18.2). */
interface DebugRegister {
  readonly va: bigint;
  readonly control: number;
}

const REGISTER_COUNT = 4;
const INT3 = 0xcc;
const DR7_FIXED = 1 << 10;
const RW_EXECUTION = 0;
const RW_WRITE = 1;
const RW_ACCESS = 3;
const LENGTH_CODES: Readonly<Record<number, number>> = { 1: 0, 2: 1, 8: 2, 4: 3 };

/** Outcome of {@link Breakpoints.insert}. */
export type Insertion = 'ok' | 'unmapped' | 'full';

export class Breakpoints {
  readonly #target: DebugTarget;
  readonly #set = new Map<string, { readonly breakpoint: Breakpoint; readonly place: Place }>();
  readonly #registers: (DebugRegister | undefined)[] = Array(REGISTER_COUNT).fill(undefined);
  /** What the guest has where an INT3 is now, by guest-physical address. */
  readonly #originals = new Map<number, number>();
  #changed = false;

  constructor(target: DebugTarget) {
    this.#target = target;
  }

  /** @param translate the guest-physical address of RAM, for a virtual one */
  insert(breakpoint: Breakpoint, translate: (va: bigint) => number | undefined): Insertion {
    const key = keyOf(breakpoint);
    // GDB may repeat itself.
    if (this.#set.has(key)) return 'ok';
    const place = this.#place(breakpoint, translate);
    if (typeof place === 'string') return place;
    this.#set.set(key, { breakpoint, place });
    this.#changed = true;
    return 'ok';
  }

  remove(breakpoint: Breakpoint): void {
    const key = keyOf(breakpoint);
    const known = this.#set.get(key);
    if (known === undefined) return;
    this.#set.delete(key);
    this.#changed = true;
    if ('registers' in known.place) {
      for (const index of known.place.registers) this.#registers[index] = undefined;
    }
  }

  clear(): void {
    for (const { breakpoint } of [...this.#set.values()]) this.remove(breakpoint);
  }

  /** Before the vCPUs run. */
  arm(): void {
    const places = [...this.#set.values()].map(({ place }) => place);
    const listed = places.filter((place) => 'listed' in place);
    if (this.#changed) {
      this.#target.setBreakpoints({
        addresses: [...new Set(listed.map((place) => place.listed))],
        registers: this.#registers.map((register) => register?.va ?? 0n),
        dr7: this.#registers.reduce(dr7With, 0),
      });
      this.#changed = false;
    }
    const { memory } = this.#target;
    for (const { gpa } of listed) {
      if (gpa === undefined || this.#originals.has(gpa)) continue;
      this.#originals.set(gpa, memory.view(gpa, 1).getUint8(0));
      memory.write(gpa, Uint8Array.of(INT3));
    }
  }

  /** When the vCPUs have stopped: the guest's code is as the guest has written it. */
  disarm(): void {
    const { memory } = this.#target;
    for (const [gpa, original] of this.#originals) {
      // Otherwise the guest has replaced its code meanwhile.
      if (memory.view(gpa, 1).getUint8(0) === INT3) memory.write(gpa, Uint8Array.of(original));
    }
    this.#originals.clear();
  }

  /** What a vCPU has stopped at; undefined for other reasons. */
  hit({ causes }: CpuStop, rip: bigint): Breakpoint | undefined {
    const all = [...this.#set.values()];
    const hits = causes & CAUSE_REGISTERS;
    const byRegister = all.find(
      ({ place }) => 'registers' in place && place.registers.some((index) => (hits >> index) & 1),
    );
    if (byRegister !== undefined) return byRegister.breakpoint;
    if ((causes & CAUSE_BREAKPOINT) === 0) return undefined;
    return all.find(({ place }) => 'listed' in place && place.listed === rip)?.breakpoint;
  }

  #place(
    { kind, va, bytes }: Breakpoint,
    translate: (va: bigint) => number | undefined,
  ): Place | Insertion {
    const { needsInt3, breakpointsMax, memory } = this.#target;
    if (kind === 'write' || kind === 'access') {
      return this.#takeRegisters(watched(va, bytes, kind === 'write' ? RW_WRITE : RW_ACCESS));
    }
    const execution = [{ va, control: RW_EXECUTION }];
    if (needsInt3 && kind === 'hardware') return this.#takeRegisters(execution);
    const gpa = needsInt3 ? translate(va) : undefined;
    if (needsInt3 && (gpa === undefined || !memory.contains(gpa, 1))) {
      // What is not mapped yet can have a register.
      const taken = this.#takeRegisters(execution);
      return taken === 'full' ? 'unmapped' : taken;
    }
    const listed = [...this.#set.values()].filter(({ place }) => 'listed' in place);
    if (listed.length >= breakpointsMax) return 'full';
    return { listed: va, ...(gpa !== undefined && { gpa }) };
  }

  #takeRegisters(wanted: readonly DebugRegister[]): Place | 'full' {
    const free = [...this.#registers.keys()].filter((i) => this.#registers[i] === undefined);
    if (wanted.length > free.length) return 'full';
    const registers = free.slice(0, wanted.length);
    registers.forEach((index, i) => {
      this.#registers[index] = wanted[i];
    });
    return { registers };
  }
}

function keyOf({ kind, va, bytes }: Breakpoint): string {
  const isWatch = kind === 'write' || kind === 'access';
  return `${kind} ${va} ${isWatch ? bytes : ''}`;
}

/** As many aligned parts of a range as are needed; too many if it is too long. */
function watched(va: bigint, bytes: number, access: number): DebugRegister[] {
  const parts: DebugRegister[] = [];
  for (let done = 0; done < bytes && parts.length <= REGISTER_COUNT; ) {
    const at = va + BigInt(done);
    const size = [8, 4, 2, 1].find((n) => n <= bytes - done && at % BigInt(n) === 0n) ?? 1;
    parts.push({ va: at, control: access | ((LENGTH_CODES[size] ?? 0) << 2) });
    done += size;
  }
  return parts;
}

function dr7With(dr7: number, register: DebugRegister | undefined, index: number): number {
  if (register === undefined) return dr7;
  return (dr7 | DR7_FIXED | (1 << (2 * index)) | (register.control << (16 + 4 * index))) >>> 0;
}
