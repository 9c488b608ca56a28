import type { VsockPorts } from '../backends/vsock/vsock-ports.ts';
import { Bus } from '../bus/bus.ts';
import type { DeviceState } from '../devices/device-state.ts';
import type { Counters, MachineDevice } from '../devices/machine-device.ts';
import { errorText, TsvmError } from '../errors.ts';
import type { ExitSlot } from '../kvm/exit-slots.ts';
import type { Logger } from '../observability/logger.ts';
import { unwind } from '../util/unwind.ts';
import { withAdvice } from './failure-advice.ts';
import type { MachineControls } from './machine-controls.ts';
import type { MachineEnd } from './machine-end.ts';
import type { DeviceMetrics, MachineMetrics } from './machine-metrics.ts';

/** Legal transitions. A machine never leaves `stopped`: a reboot is a new machine. */
const TRANSITIONS = {
  created: ['running', 'stopped'],
  running: ['pausing', 'stopped'],
  pausing: ['paused', 'stopped'],
  paused: ['running', 'stopped'],
  stopped: [],
} as const satisfies Record<string, readonly string[]>;
export type MachineState = keyof typeof TRANSITIONS;

/** After a panic the guest prints and resets; when it does not, this ends it. */
const PANIC_GRACE_MS = 5_000;

/** What a machine asks of its virtual machine: `Vm`, or a fake in tests. */
export interface MachineVm {
  readonly slots: readonly ExitSlot[];
  readonly parked: boolean;
  start(): void;
  pause(): void;
  resume(): void;
  stop(): void;
  completeExit(slot: ExitSlot): void;
  failureText(cpu: number): string;
  statistics(): Counters;
  close(): void;
}

export interface MachineOptions {
  readonly logger: Logger;
  /** The machine's from now on; it calls {@link Machine.wake}. */
  readonly vm: MachineVm;
  /** The guest's, closed after the virtual machine. */
  readonly memory: { close(): void };
}

/** A machine for whoever runs it; the rest of {@link Machine} is for its devices. */
export type MachineHandle = Pick<
  Machine,
  | 'state'
  | 'ended'
  | 'controls'
  | 'vsock'
  | 'start'
  | 'pause'
  | 'resume'
  | 'stop'
  | 'metrics'
  | 'statistics'
  | 'close'
>;

/** A sentence where the error is one, else the stack of what is ours to mend. */
function failureText(error: unknown): string {
  const text = errorText(error);
  return error instanceof TsvmError ? text : `a device failed: ${text}`;
}

/** A virtual machine: its vCPUs and devices, and the one place where its end is decided. */
export class Machine {
  /** Fulfilled when the machine has stopped by itself or by {@link stop}. */
  readonly ended: Promise<MachineEnd>;
  /** Connections to and from the guest by virtio-vsock; undefined without the device. */
  vsock: VsockPorts | undefined;
  /** Where slow exits go. */
  readonly bus = new Bus();
  /** What the host may ask of its devices while it runs. */
  readonly controls: MachineControls = {};
  readonly #vm: MachineVm;
  readonly #logger: Logger;
  readonly #devices = new Map<string, MachineDevice>();
  readonly #resolveEnd: (end: MachineEnd) => void;
  #state: MachineState = 'created';
  #panicked = false;
  #panicTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  /** Called once the vCPUs have parked. */
  readonly #onParked: (() => void)[] = [];
  /** What the machine has opened, to be released in reverse. */
  readonly #resources = new AsyncDisposableStack();

  constructor({ logger, memory, vm }: MachineOptions) {
    this.#logger = logger;
    this.#vm = vm;
    this.own(() => memory.close());
    this.own(() => vm.close());
    const { promise, resolve } = Promise.withResolvers<MachineEnd>();
    this.ended = promise;
    this.#resolveEnd = resolve;
  }

  get state(): MachineState {
    return this.#state;
  }

  /** Adds a device, which is closed before those that were added earlier. */
  addDevice(device: MachineDevice): void {
    this.#devices.set(device.id, device);
    this.own(() => device.close());
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
    if (this.#state === 'stopped') this.#logger.error(message);
    else this.#end({ reason: 'failed', message });
  }

  /** A vCPU or a register ring wants attention: serves whatever the threads have left. */
  wake(): void {
    for (const slot of this.#vm.slots) {
      // The vCPUs of a stopped machine wait for nothing any more, and nothing may begin for them.
      if (this.#state !== 'stopped' && slot.pending) this.contain(() => this.#serve(slot));
    }
    for (const device of this.#devices.values()) this.contain(() => device.poll?.());
    this.#checkParked();
  }

  /** Starts the devices and the vCPUs of a machine that was never started. */
  start(): void {
    if (this.#state !== 'created') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine cannot be started`);
    }
    this.#enter('running');
    this.#resumeDevices();
    if (this.#isIn('running')) this.#vm.start();
  }

  /**
   * Pauses the machine: once it resolves, every vCPU is between two instructions, and neither a vCPU
   * nor a device nor the host's input changes guest memory, interrupts or any state of the machine.
   * @throws TsvmError `wrong-state` unless the machine is running, or when it ends before it pauses
   */
  async pause(): Promise<void> {
    if (this.#state !== 'running') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine cannot be paused`);
    }
    this.#enter('pausing');
    clearTimeout(this.#panicTimer);
    this.contain(() => {
      for (const device of this.#devices.values()) device.completeAccesses?.();
      this.#vm.pause();
    });
    await this.#parked();
    if (this.#isIn('pausing')) await this.#quiesceDevices();
    if (!this.#isIn('pausing')) {
      throw new TsvmError('wrong-state', 'the machine has ended before it could pause');
    }
    this.#enter('paused');
  }

  resume(): void {
    if (this.#state !== 'paused') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine cannot be resumed: pause it`);
    }
    this.#enter('running');
    this.#resumeDevices();
    if (!this.#isIn('running')) return;
    if (this.#panicked) this.#awaitPanic();
    this.#vm.resume();
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
    if (this.#panicked) return;
    this.#panicked = true;
    // Otherwise the machine is pausing: a paused guest has all the time it needs.
    if (this.#state === 'running') this.#awaitPanic();
  }

  /**
   * The state of every device, by its id: plain data, see {@link MachineDevice.save}.
   * @throws TsvmError `wrong-state` unless the machine is paused
   */
  saveDevices(): Readonly<Record<string, DeviceState>> {
    if (this.#state !== 'paused') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine has no state: pause it first`);
    }
    return Object.fromEntries([...this.#devices].map(([id, device]) => [id, device.save()]));
  }

  /**
   * Gives each device the state that a machine with the same configuration saved.
   * @throws TsvmError `wrong-state` unless the machine was never started, `invalid-state`; the
   * machine is of no use then
   */
  loadDevices(states: Readonly<Record<string, DeviceState>>): void {
    if (this.#state !== 'created') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine takes no state: make a new one`);
    }
    const strangers = Object.keys(states).filter((id) => !this.#devices.has(id));
    const missing = [...this.#devices.keys()].filter((id) => !Object.hasOwn(states, id));
    if (strangers.length + missing.length > 0) {
      throw new TsvmError(
        'invalid-state',
        'the saved state is that of a machine with other devices: ' +
          `it has [${strangers}] besides and lacks [${missing}]`,
      );
    }
    for (const [id, device] of this.#devices) device.load(states[id] as DeviceState);
  }

  /** Counters of the vCPUs and of each device, by its id. */
  statistics(): Record<string, Counters> {
    const all: Record<string, Counters> = { vcpus: this.#vm.statistics() };
    for (const [id, device] of this.#devices) {
      const statistics = device.statistics?.();
      if (statistics !== undefined) all[id] = statistics;
    }
    return all;
  }

  /** As {@link statistics}, with the counters of each queue and values that go up and down. */
  metrics(): MachineMetrics {
    const devices: Record<string, DeviceMetrics> = {};
    for (const [id, device] of this.#devices) {
      const counters = device.statistics?.();
      if (counters === undefined) continue;
      devices[id] = {
        counters,
        gauges: device.gauges?.() ?? {},
        queues: device.queueStatistics?.() ?? [],
      };
    }
    return { vcpus: this.#vm.statistics(), devices };
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
    this.own(() => {
      // Once more: it may be what failed.
      this.#vm.stop();
      return this.#parked();
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

  /** Asks anew: a call may have ended the machine, which TypeScript does not expect. */
  #isIn(state: MachineState): boolean {
    return this.#state === state;
  }

  #end(end: MachineEnd): void {
    if (this.#state === 'stopped') return;
    clearTimeout(this.#panicTimer);
    this.#enter('stopped');
    // `stopped` is final: should this fail too, the first reason is the one that counts.
    this.contain(() => this.#vm.stop());
    // What the guest wrote last is in the rings still.
    let reason = end;
    for (const device of this.#devices.values()) {
      try {
        device.poll?.();
      } catch (error) {
        if (reason.reason === 'failed') this.#logger.error(failureText(error));
        else reason = { reason: 'failed', message: failureText(error) };
      }
    }
    this.#resolveEnd(reason);
  }

  #awaitPanic(): void {
    this.#panicTimer = setTimeout(() => this.#end({ reason: 'panic' }), PANIC_GRACE_MS);
  }

  #resumeDevices(): void {
    for (const device of this.#devices.values()) this.contain(() => device.resume());
  }

  /** What a device fails to do ends the machine. */
  async #quiesceDevices(): Promise<void> {
    const quiesce = async (device: MachineDevice) => device.quiesce();
    for (const outcome of await Promise.allSettled([...this.#devices.values()].map(quiesce))) {
      if (outcome.status === 'rejected') this.fail(outcome.reason);
    }
  }

  /** Resolves when no vCPU runs any more, after the order to park or to stop. */
  #parked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onParked.push(resolve);
    this.#checkParked();
    return promise;
  }

  #checkParked(): void {
    if (this.#onParked.length === 0 || !this.#vm.parked) return;
    // A vCPU that has ended by itself tells why in its slot, for which a wake is under way.
    if (this.#state !== 'stopped' && this.#vm.slots.some((slot) => slot.pending)) return;
    for (const onParked of this.#onParked.splice(0)) onParked();
  }

  #serve(slot: ExitSlot): void {
    switch (slot.kind) {
      case 'read':
        slot.answer(...this.bus.read(slot));
        this.#vm.completeExit(slot);
        return;
      case 'write': {
        const pending = this.bus.write(slot, slot.dataLow, slot.dataHigh);
        if (pending === undefined) this.#vm.completeExit(slot);
        else this.#completeLater(slot, pending);
        return;
      }
      case 'shutdown':
        this.#end(this.#panicked ? { reason: 'panic' } : { reason: 'triple-fault' });
        return;
      case 'failed':
        this.#end({ reason: 'failed', message: withAdvice(this.#vm.failureText(slot.cpu)) });
        return;
      case 'none':
        return;
    }
  }

  #completeLater(slot: ExitSlot, pending: Promise<void>): void {
    slot.claim();
    pending.then(
      () => {
        if (this.#state !== 'stopped') this.#vm.completeExit(slot);
      },
      (error: unknown) => this.fail(error),
    );
  }
}
