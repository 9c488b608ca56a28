/** The machine as a debugger sees it. */
import type { GuestMemory } from '../memory/guest-memory.ts';

/** Kinds of state that KVM has structures for. */
export type CpuBlock = 'regs' | 'sregs' | 'xsave';

/** Why vCPUs stop; the bits of `enum tsvm_debug_cause` in kvm-addon/include/tsvm/exit_slot_abi.h. */
export const CAUSE_REGISTERS = 0xf;
export const CAUSE_STEP = 1 << 4;
export const CAUSE_BREAKPOINT = 1 << 5;

/** A vCPU that has stopped by itself. */
export interface CpuStop {
  readonly cpu: number;
  readonly causes: number;
}

/** What all vCPUs stop for. */
export interface BreakpointSettings {
  /** Virtual addresses of instructions. */
  readonly addresses: readonly bigint[];
  /** DR0 to DR3. */
  readonly registers: readonly bigint[];
  /** DR7; 0 leaves the guest its own debug registers. */
  readonly dr7: number;
}

/**
 * A machine under a debugger. All vCPUs stop together. Except for {@link DebugTarget.halt} and
 * {@link DebugTarget.kill}, everything is for the time when they have stopped.
 */
export interface DebugTarget {
  readonly cpus: number;
  readonly memory: GuestMemory;
  /** On hosts with VT-x or AMD-V, a breakpoint is an INT3 that the debugger writes. */
  readonly needsInt3: boolean;
  /** How many addresses {@link BreakpointSettings} may have. */
  readonly breakpointsMax: number;
  /** Stops all vCPUs. Resolves when the state of each can be read. */
  halt(): Promise<void>;
  /** @param running,stepping a bit for each vCPU; the others stay where they are */
  resume(running: number, stepping: number): void;
  setBreakpoints(settings: BreakpointSettings): void;
  readCpu(cpu: number, block: CpuBlock): Uint8Array;
  writeCpu(cpu: number, block: CpuBlock, bytes: Uint8Array): void;
  readMsr(cpu: number, index: number): bigint;
  /** Ends the machine, like pulling its plug. */
  kill(): void;
}
