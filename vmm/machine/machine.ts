import { PVM_REGION_GPA } from '../arch/x86_64/layout.ts';
import { Bus } from '../bus/bus.ts';
import { TsvmError } from '../errors.ts';
import type { ExitSlot } from '../kvm/exit-slots.ts';
import type { KernelMode } from '../kvm/host.ts';
import type { KvmMemory } from '../kvm/memory.ts';
import { Vm } from '../kvm/vm.ts';
import type { Logger } from '../observability/logger.ts';
import { unwind } from '../util/unwind.ts';
import { withAdvice } from './failure-advice.ts';

/** Why a machine has stopped. */
export type MachineEnd =
  | { readonly reason: 'poweroff' }
  /** The guest asked for a reset. */
  | { readonly reason: 'reset' }
  /** The guest's kernel reported a panic. */
  | { readonly reason: 'panic' }
  /** A vCPU could not even deliver its double fault. */
  | { readonly reason: 'triple-fault' }
  /** The host stopped it. */
  | { readonly reason: 'stopped' }
  /** A vCPU cannot go on, or a device or a sink of its failed: ours or the host's fault. */
  | { readonly reason: 'failed'; readonly message: string };

/** Legal transitions. A machine never leaves `stopped`: a reboot is a new machine. */
const TRANSITIONS = {
  created: ['running', 'stopped'],
  running: ['paused', 'stopped'],
  paused: ['running', 'stopped'],
  stopped: [],
} as const satisfies Record<string, readonly string[]>;
export type MachineState = keyof typeof TRANSITIONS;

/** After a panic the guest prints and resets; when it does not, this ends it. */
const PANIC_GRACE_MS = 5_000;

/** A device as the machine holds it. */
export interface MachineDevice {
  readonly name: string;
  /** Looks at what the vCPU threads left for it; called on each wake. */
  poll?(): void;
  /**
   * Ends its I/O; resolves when nothing of it touches guest memory any more. Devices are closed in
   * the reverse of the order in which they were added.
   */
  close?(): Promise<void>;
  statistics?(): Readonly<Record<string, number>>;
}

export interface MachineOptions {
  readonly devicePath: string;
  readonly memory: KvmMemory;
  readonly cpus: number;
  readonly kernelMode: KernelMode;
  readonly logger: Logger;
}

/** A sentence where the error is one, else the stack of what is ours to mend. */
function failureText(error: unknown): string {
  if (error instanceof TsvmError) return error.message;
  return `a device failed: ${(error instanceof Error ? error.stack : undefined) ?? error}`;
}

/** A virtual machine: its vCPUs, memory and devices, and the one place where its end is decided. */
export class Machine {
  readonly vm: Vm;
  readonly memory: KvmMemory;
  readonly bus = new Bus();
  readonly logger: Logger;
  readonly kernelMode: KernelMode;
  /** Fulfilled when the machine has stopped by itself or by {@link stop}. */
  readonly ended: Promise<MachineEnd>;
  readonly #devices: MachineDevice[] = [];
  readonly #resolveEnd: (end: MachineEnd) => void;
  #state: MachineState = 'created';
  #panicTimer: NodeJS.Timeout | undefined;
  #panicked = false;
  #closing: Promise<void> | undefined;
  /** Called once the vCPUs have parked. */
  readonly #onParked: (() => void)[] = [];
  /** A pause has been asked for, and the vCPUs have not parked yet. */
  #pausing = false;
  /** What the machine has opened, to be released in reverse. */
  readonly #resources = new AsyncDisposableStack();

  constructor(options: MachineOptions) {
    this.memory = options.memory;
    this.logger = options.logger;
    this.kernelMode = options.kernelMode;
    this.vm = new Vm({
      ...options,
      pvmGpa: PVM_REGION_GPA,
      onWake: () => this.#onWake(),
    });
    this.own(() => this.memory.close());
    this.own(() => this.vm.close());
    const { promise, resolve } = Promise.withResolvers<MachineEnd>();
    this.ended = promise;
    this.#resolveEnd = resolve;
  }

  get state(): MachineState {
    return this.#state;
  }

  addDevice(device: MachineDevice): void {
    this.#devices.push(device);
    const { close } = device;
    if (close !== undefined) this.own(() => close.call(device));
  }

  /**
   * Takes over a resource as soon as it is opened: `release` is called when the machine is closed,
   * the last resource first, whatever fails before.
   */
  own(release: () => void | Promise<void>): void {
    this.#resources.defer(async () => release());
  }

  /**
   * Runs what a thread, a timer or a sink has called. What it throws ends the machine, with the
   * reason: otherwise nobody would be told, and a vCPU would wait for ever.
   */
  contain<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  /** Ends the machine: a part of it does not work any more. Once it has ended, that is only said. */
  fail(error: unknown): void {
    const message = failureText(error);
    if (this.#state === 'stopped') this.logger.error(message);
    else this.#end({ reason: 'failed', message });
  }

  /** Starts the vCPUs. */
  start(): void {
    this.#enter('running');
    this.vm.start();
  }

  /** Stops the vCPUs between two instructions; resolves when all have. */
  async pause(): Promise<void> {
    this.#enter('paused');
    this.#pausing = true;
    this.vm.pause();
    await this.#parked();
    this.#pausing = false;
  }

  resume(): void {
    if (this.#state !== 'paused' || this.#pausing) {
      throw new TsvmError('wrong-state', `a ${this.#state} machine cannot be resumed: pause it`);
    }
    this.#enter('running');
    this.vm.resume();
  }

  /** Ends the machine as by pulling its plug. */
  stop(): void {
    this.#end({ reason: 'stopped' });
  }

  /** The guest switched itself off. */
  powerOff(): void {
    this.#end(this.#panicked ? { reason: 'panic' } : { reason: 'poweroff' });
  }

  /** The guest asked for a reset. After a panic that is how the panic ends. */
  reset(): void {
    this.#end(this.#panicked ? { reason: 'panic' } : { reason: 'reset' });
  }

  /** The guest's kernel reported that it panicked. It may still print why, and reset. */
  panic(): void {
    this.#panicked = true;
    this.#panicTimer ??= setTimeout(() => this.#end({ reason: 'panic' }), PANIC_GRACE_MS);
  }

  statistics(): Record<string, Readonly<Record<string, number>>> {
    const all: Record<string, Readonly<Record<string, number>>> = { vcpus: this.vm.statistics() };
    for (const device of this.#devices) {
      const statistics = device.statistics?.();
      if (statistics !== undefined) all[device.name] = statistics;
    }
    return all;
  }

  /**
   * Ends the machine if it has not, waits for its I/O and frees all it has, whatever fails on the
   * way. Idempotent. Rejects with the failure, or with an AggregateError of several.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.stop();
    // Before all else, so that no device gets new work while it ends the old.
    this.own(async () => {
      this.vm.pause();
      await this.#parked();
    });
    await unwind(this.#resources);
  }

  #enter(state: MachineState): void {
    const legal: readonly MachineState[] = TRANSITIONS[this.#state];
    if (!legal.includes(state)) {
      throw new TsvmError('wrong-state', `a ${this.#state} machine cannot become ${state}`);
    }
    this.#state = state;
  }

  #end(end: MachineEnd): void {
    if (this.#state === 'stopped') return;
    clearTimeout(this.#panicTimer);
    this.#enter('stopped');
    // `stopped` is final: should this fail too, the first reason is the one that counts.
    this.contain(() => this.vm.pause());
    // What the guest wrote last is in the rings still.
    let reason = end;
    for (const device of this.#devices) {
      try {
        device.poll?.();
      } catch (error) {
        if (reason.reason === 'failed') this.logger.error(failureText(error));
        else reason = { reason: 'failed', message: failureText(error) };
      }
    }
    this.#resolveEnd(reason);
  }

  /** Serves whatever the threads have left since the last wake. */
  #onWake(): void {
    for (const slot of this.vm.slots) {
      if (slot.pending) this.contain(() => this.#serve(slot));
    }
    for (const device of this.#devices) this.contain(() => device.poll?.());
    this.#checkParked();
  }

  /** Resolves when no vCPU runs any more, after the order to park. */
  #parked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onParked.push(resolve);
    this.#checkParked();
    return promise;
  }

  #checkParked(): void {
    if (this.#onParked.length === 0 || !this.vm.parked) return;
    for (const onParked of this.#onParked.splice(0)) onParked();
  }

  #serve(slot: ExitSlot): void {
    switch (slot.kind) {
      case 'read':
        slot.answer(...this.bus.read(slot));
        this.vm.completeExit(slot);
        return;
      case 'write': {
        const pending = this.bus.write(slot, slot.dataLow, slot.dataHigh);
        if (pending === undefined) this.vm.completeExit(slot);
        else this.#completeLater(slot, pending);
        return;
      }
      case 'shutdown':
        this.#end(this.#panicked ? { reason: 'panic' } : { reason: 'triple-fault' });
        return;
      case 'failed':
        this.#end({ reason: 'failed', message: withAdvice(this.vm.failureText(slot.cpu)) });
        return;
      case 'none':
        return;
    }
  }

  #completeLater(slot: ExitSlot, pending: Promise<void>): void {
    slot.claim();
    pending.then(
      () => {
        if (this.#state !== 'stopped') this.vm.completeExit(slot);
      },
      (error: unknown) => this.fail(error),
    );
  }
}
