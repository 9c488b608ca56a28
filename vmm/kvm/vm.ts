import type { NativeCpuState, NativeEventFd, NativeVm } from '../../kvm-addon/index.d.ts';
import type { InterruptLine } from '../bus/interrupt-line.ts';
import { loadAddon } from '../host/addon.ts';
import { ExitSlot } from './exit-slots.ts';
import { type KernelMode, kvmUnavailable } from './host.ts';
import { isNativeError, withKvmErrors } from './kvm-error.ts';
import type { KvmMemory } from './memory.ts';
import type { KvmRegisterBank } from './register-bank.ts';

export interface VmOptions {
  readonly devicePath: string;
  readonly memory: KvmMemory;
  /** 1 to 32. */
  readonly cpus: number;
  /** How KVM executes guest kernel code. */
  readonly kernelMode: KernelMode;
  /** On kvm-pvm: 2 MiB of guest-physical address space, for what the VM needs there. */
  readonly pvmGpa: number;
  /** Called on the JavaScript thread when a vCPU or a register ring wants attention. */
  readonly onWake: () => void;
}

/** What tests may change of our interpreter of guest kernel code. */
export interface EngineTuning {
  /** Taken jumps of guest programs that are interpreted before they run natively. */
  readonly userBudget: number;
  /** Breaks guests: shadow page tables are left stale. */
  readonly leavesStaleShadows: boolean;
}

/** An interrupt line whose edges KVM injects by itself. */
export interface KvmInterruptLine extends InterruptLine {
  readonly event: NativeEventFd;
}

/** Calls that fail when it is the device that is at fault. */
const DEVICE_CALLS = ['open', 'KVM_GET_API_VERSION', 'KVM_CREATE_VM'];

function createVm({ devicePath, memory, cpus, kernelMode, pvmGpa, onWake }: VmOptions): NativeVm {
  const { NativeVm } = loadAddon();
  const options = {
    devicePath,
    memory: memory.native,
    cpus,
    onWake,
    pvmGpa: kernelMode === 'hardware' ? null : pvmGpa,
    kernelModeEngine: kernelMode === 'interpreter',
  };
  return withKvmErrors('creating a virtual machine', () => {
    try {
      return new NativeVm(options);
    } catch (cause) {
      const deviceFailed = isNativeError(cause) && DEVICE_CALLS.includes(cause.syscall);
      throw deviceFailed ? kvmUnavailable(devicePath, cause) : cause;
    }
  });
}

/** A KVM virtual machine with its vCPU threads. */
export class Vm {
  readonly slots: readonly ExitSlot[];
  readonly #native: NativeVm;

  constructor(options: VmOptions) {
    this.#native = createVm(options);
    const { exitSlots } = this.#native;
    this.slots = Array.from({ length: options.cpus }, (_, cpu) => new ExitSlot(exitSlots, cpu));
  }

  /** `struct kvm_cpuid_entry2[]` that KVM and this CPU can offer. */
  supportedCpuid(): Uint8Array {
    return withKvmErrors('reading the CPU features', () => this.#native.supportedCpuid());
  }

  setCpuid(cpu: number, entries: Uint8Array): void {
    withKvmErrors(`setting the features of vCPU ${cpu}`, () => this.#native.setCpuid(cpu, entries));
  }

  getState(cpu: number, state: NativeCpuState): Uint8Array {
    return withKvmErrors(`reading vCPU ${cpu}`, () => this.#native.getState(cpu, state));
  }

  setState(cpu: number, state: NativeCpuState, bytes: Uint8Array): void {
    withKvmErrors(`setting up vCPU ${cpu}`, () => this.#native.setState(cpu, state, bytes));
  }

  /** For tests; see the addon. */
  tuneEngine(tuning: EngineTuning): void {
    withKvmErrors('tuning the engine', () => this.#native.tuneEngine(tuning));
  }

  setMsrs(cpu: number, msrs: ReadonlyMap<number, bigint>): void {
    const indices = Uint32Array.from(msrs.keys());
    const values = BigUint64Array.from(msrs.values());
    withKvmErrors(`setting up vCPU ${cpu}`, () => this.#native.setMsrs(cpu, indices, values));
  }

  /** The line of a GSI (0 to 23); each pulse is one edge, injected without waking anything. */
  interruptLine(gsi: number): KvmInterruptLine {
    const event = withKvmErrors(`interrupt line ${gsi}`, () => this.#native.interruptEvent(gsi));
    return { gsi, event, pulse: () => event.signal() };
  }

  /** A write of `value` (`lengthBytes` wide) at `gpa` signals the event, without an exit. */
  kickEvent(gpa: number, lengthBytes: number, value: number): NativeEventFd {
    return withKvmErrors(`a doorbell at 0x${gpa.toString(16)}`, () =>
      this.#native.kickEvent(gpa, lengthBytes, value),
    );
  }

  /** Puts a bank on the bus; answers the number that slow accesses to it carry. */
  attachBank(space: 'pio' | 'mmio', base: number, bank: KvmRegisterBank): number {
    return withKvmErrors(`registers at 0x${base.toString(16)}`, () =>
      this.#native.attachBank(space, base, bank.native),
    );
  }

  /** Hands a slot back: its vCPU goes on. */
  completeExit(slot: ExitSlot): void {
    this.#native.completeExit(slot.cpu);
  }

  failureText(cpu: number): string {
    return this.#native.failureText(cpu);
  }

  /** Starts the vCPU threads. */
  start(): void {
    withKvmErrors('starting the vCPU threads', () => this.#native.start());
  }

  /**
   * Asks the vCPUs to park between two instructions; `onWake` is called as each does. One in a slow
   * exit parks once that is completed.
   */
  pause(): void {
    this.#native.pause();
  }

  resume(): void {
    this.#native.resume();
  }

  /** Ends the vCPU threads, for good and wherever they are; `onWake` is called as each has. */
  stop(): void {
    this.#native.stop();
  }

  /** True when every vCPU has parked, as asked for, or ended: its state can be read and set. */
  get parked(): boolean {
    return this.#native.parked;
  }

  /** Counters by name, summed over the vCPUs. */
  statistics(): Record<string, number> {
    return this.#native.statistics();
  }

  close(): void {
    this.#native.close();
  }
}
