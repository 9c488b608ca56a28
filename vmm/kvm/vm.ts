import type {
  NativeCpuState,
  NativeEventFd,
  NativeVm,
  NativeVmState,
} from '../../kvm-addon/index.d.ts';
import type { InterruptLine } from '../bus/interrupt-line.ts';
import { loadAddon } from '../host/addon.ts';
import { DirtyPages } from '../memory/dirty-pages.ts';
import { ExitSlot } from './exit-slots.ts';
import { type KernelMode, kvmUnavailable } from './host.ts';
import { isNativeError, withKvmErrors } from './kvm-error.ts';
import type { KvmMemory } from './memory.ts';
import type { KvmRegisterBank } from './register-bank.ts';

/** Kinds of state, each a structure of KVM's. */
export type VcpuStateKind = NativeCpuState;
export type VmStateKind = NativeVmState;

export interface VmOptions {
  readonly devicePath: string;
  readonly memory: KvmMemory;
  /** Number of vCPUs, 1 to 32. */
  readonly cpus: number;
  /** What executes guest kernel code. */
  readonly kernelMode: KernelMode;
  /** On kvm-pvm: address of 2 MiB of guest-physical address space for tsvm's own use. */
  readonly pvmGpa: number;
  /** Called on the JavaScript thread when a vCPU or a register ring needs service. */
  readonly onWake: () => void;
}

/** Settings of the interpreter on kvm-pvm, for tests. */
export interface EngineTuning {
  /** Number of taken jumps that are interpreted before a guest program runs natively. */
  readonly userBudget: number;
  /** Number of jumps to an instruction after which it is translated, at most 255; 0: never. */
  readonly translateAfter: number;
  /** Leaves shadow page tables stale, which breaks guests. */
  readonly leavesStaleShadows: boolean;
}

/** What a debugger has set, for all vCPUs. */
export interface Breakpoints {
  /**
   * Virtual addresses of instructions, at most {@link BREAKPOINTS_MAX}. On hosts with VT-x or AMD-V,
   * the debugger has written an INT3 there.
   */
  readonly addresses: readonly bigint[];
  /** DR0 to DR3. */
  readonly registers: readonly bigint[];
  /** DR7. Unless it is 0, the guest's debug registers do nothing. */
  readonly dr7: number;
}

export const BREAKPOINTS_MAX = 256;

/** An interrupt line backed by an irqfd. */
export interface KvmInterruptLine extends InterruptLine {
  readonly event: NativeEventFd;
}

/** What a device writes where to interrupt a vCPU (Intel SDM volume 3, section 11.11). */
export interface InterruptMessage {
  readonly address: number;
  readonly data: number;
}

/** An interrupt with its own vector, chosen by the guest's driver. */
export interface KvmMessageInterrupt extends KvmInterruptLine {
  /**
   * What each pulse sends from now on; undefined: nothing. May take some milliseconds, in which
   * nothing else of this process's JavaScript runs.
   */
  setMessage(message: InterruptMessage | undefined): void;
}

/** System calls whose failure means that the KVM device is unusable. */
const DEVICE_CALLS = ['open', 'KVM_GET_API_VERSION', 'KVM_CREATE_VM'];

function beginVm({ devicePath, memory, cpus, kernelMode, pvmGpa, onWake }: VmOptions): NativeVm {
  const { NativeVm } = loadAddon();
  return new NativeVm({
    devicePath,
    memory: memory.native,
    cpus,
    onWake,
    pvmGpa: kernelMode === 'hardware' ? null : pvmGpa,
    kernelModeEngine: kernelMode === 'interpreter',
  });
}

/** A KVM virtual machine with its vCPU threads. */
export class Vm {
  readonly slots: readonly ExitSlot[];
  readonly #native: NativeVm;
  readonly #memory: KvmMemory;
  readonly #devicePath: string;

  /**
   * Begins to create it, on a thread: KVM waits for other parts of the host's kernel meanwhile. The
   * methods wait for its end; call {@link created} before them.
   */
  constructor(options: VmOptions) {
    this.#native = withKvmErrors('creating a virtual machine', () => beginVm(options));
    this.#devicePath = options.devicePath;
    this.#memory = options.memory;
    const { exitSlots } = this.#native;
    this.slots = Array.from({ length: options.cpus }, (_, cpu) => new ExitSlot(exitSlots, cpu));
  }

  /**
   * Waits until it has been created.
   * @throws TsvmError `kvm-unavailable`, `kvm-failed`: it can only be closed then
   */
  created(): void {
    withKvmErrors('creating a virtual machine', () => {
      try {
        this.#native.created();
      } catch (cause) {
        const deviceFailed = isNativeError(cause) && DEVICE_CALLS.includes(cause.syscall);
        throw deviceFailed ? kvmUnavailable(this.#devicePath, cause) : cause;
      }
    });
  }

  /** KVM_GET_SUPPORTED_CPUID: an array of `struct kvm_cpuid_entry2`. */
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

  /** The interrupt controllers, timer and clock that vCPUs share. No vCPU runs. */
  getVmState(state: NativeVmState): Uint8Array {
    return withKvmErrors(`reading the ${state}`, () => this.#native.getVmState(state));
  }

  /** See {@link getVmState}. The clock goes on from the value that is set; set it last. */
  setVmState(state: NativeVmState, bytes: Uint8Array): void {
    withKvmErrors(`setting up the ${state}`, () => this.#native.setVmState(state, bytes));
  }

  /** For tests; see {@link EngineTuning}. */
  tuneEngine(tuning: EngineTuning): void {
    withKvmErrors('tuning the engine', () => this.#native.tuneEngine(tuning));
  }

  /** Those of `indices` that KVM supports. */
  getMsrs(cpu: number, indices: readonly number[]): Map<number, bigint> {
    const msrs = new Map<number, bigint>();
    for (const index of indices) {
      try {
        const [value] = this.#native.getMsrs(cpu, Uint32Array.of(index));
        if (value !== undefined) msrs.set(index, value);
      } catch (error) {
        if (!isNativeError(error) || error.code !== 'EINVAL') throw error;
      }
    }
    return msrs;
  }

  setMsrs(cpu: number, msrs: ReadonlyMap<number, bigint>): void {
    const indices = Uint32Array.from(msrs.keys());
    const values = BigUint64Array.from(msrs.values());
    withKvmErrors(`setting up vCPU ${cpu}`, () => this.#native.setMsrs(cpu, indices, values));
  }

  /** The interrupt line of a GSI, 0 to 23. KVM injects each pulse without waking another thread. */
  interruptLine(gsi: number): KvmInterruptLine {
    const event = withKvmErrors(`interrupt line ${gsi}`, () => this.#native.interruptEvent(gsi));
    return { gsi, event, pulse: () => event.signal() };
  }

  /** An interrupt that is a message, as of MSI-X; at most 1024 of them. It goes nowhere yet. */
  messageInterrupt(): KvmMessageInterrupt {
    const gsi = withKvmErrors('a message-signalled interrupt', () => this.#native.addMessage());
    const setMessage = (message: InterruptMessage | undefined) =>
      withKvmErrors(`message-signalled interrupt ${gsi}`, () =>
        this.#native.setMessage(gsi, message ?? null),
      );
    return { ...this.interruptLine(gsi), setMessage };
  }

  /** As {@link kickEvent}, with an event that it has returned. Throws EEXIST if the place is taken. */
  bindKick(event: NativeEventFd, gpa: number, lengthBytes: number, value: number): void {
    withKvmErrors(`a doorbell at 0x${gpa.toString(16)}`, () =>
      this.#native.bindKick(event, gpa, lengthBytes, value),
    );
  }

  /** Undoes {@link kickEvent} or {@link bindKick} with the same arguments. */
  unbindKick(event: NativeEventFd, gpa: number, lengthBytes: number, value: number): void {
    withKvmErrors(`a doorbell at 0x${gpa.toString(16)}`, () =>
      this.#native.unbindKick(event, gpa, lengthBytes, value),
    );
  }

  /** An ioeventfd: a write of `value` (`lengthBytes` wide) at `gpa` signals it, without an exit. */
  kickEvent(gpa: number, lengthBytes: number, value: number): NativeEventFd {
    return withKvmErrors(`a doorbell at 0x${gpa.toString(16)}`, () =>
      this.#native.kickEvent(gpa, lengthBytes, value),
    );
  }

  /** Attaches a bank to the bus. @returns its number in slow accesses */
  attachBank(space: 'pio' | 'mmio', base: number, bank: KvmRegisterBank): number {
    return withKvmErrors(`registers at 0x${base.toString(16)}`, () =>
      this.#native.attachBank(space, base, bank.native),
    );
  }

  /** Completes an exit: the vCPU continues. */
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
   * Asks the vCPUs to park between two instructions; `onWake` is called for each that does. A vCPU in
   * a slow exit parks after the exit is completed.
   */
  pause(): void {
    this.#native.pause();
  }

  resume(): void {
    this.#native.resume();
  }

  /** Ends the vCPU threads, even within an exit; `onWake` is called for each that has ended. */
  stop(): void {
    this.#native.stop();
  }

  /**
   * Asks the vCPUs to park for a debugger, independently of {@link pause}. A vCPU that stops for the
   * debugger does the same, and leaves an exit of the kind `debug`.
   */
  hold(): void {
    this.#native.hold();
  }

  /**
   * Ends the hold of the vCPUs in `running`, a bit for each; the others stay parked. A vCPU in
   * `stepping` executes one instruction and stops. Only while {@link parked}.
   */
  release(running: number, stepping: number): void {
    withKvmErrors('continuing under a debugger', () => this.#native.release(running, stepping));
  }

  /** Replaces all breakpoints of a debugger. Only while {@link parked}. */
  setBreakpoints({ addresses, registers, dr7 }: Breakpoints): void {
    withKvmErrors('setting breakpoints', () =>
      this.#native.setDebug(BigUint64Array.from(addresses), BigUint64Array.from(registers), dr7),
    );
  }

  /** True when every vCPU is parked after {@link pause} or {@link hold}, or has ended: its state is accessible. */
  get parked(): boolean {
    return this.#native.parked;
  }

  /**
   * Starts or stops logging which pages of guest memory are written by vCPUs, data planes and
   * `KvmMemory.write`. Writes to a view of memory (`slice`, `view`) are not logged.
   */
  setDirtyLog(logs: boolean): void {
    withKvmErrors('logging the writes to guest memory', () => this.#native.setDirtyLog(logs));
  }

  /**
   * The pages written since the last call or since logging started. A page written during the call
   * may be reported now or next time, so read the memory after the call.
   */
  takeDirtyPages(): DirtyPages {
    const bitmaps = withKvmErrors('reading the log of writes', () => this.#native.takeDirtyPages());
    return new DirtyPages(
      this.#memory.regions.map(({ gpa }, index) => ({
        gpa,
        bitmap: bitmaps[index] ?? new Uint8Array(),
      })),
    );
  }

  /** Counters by name, summed over all vCPUs. */
  statistics(): Record<string, number> {
    return this.#native.statistics();
  }

  close(): void {
    this.#native.close();
  }
}
