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

/** Time for the guest to print messages and reset after a panic, before it is stopped. */
const PANIC_GRACE_MS = 5_000;

/** Releases a resource; a second call waits for the first. */
export type Release = () => Promise<void>;

/** The methods of `Vm` that a machine uses; tests have a fake. */
export interface MachineVm {
  readonly slots: readonly ExitSlot[];
  readonly parked: boolean;
  start(): void;
  pause(): void;
  resume(): void;
  hold(): void;
  stop(): void;
  completeExit(slot: ExitSlot): void;
  failureText(cpu: number): string;
  statistics(): Counters;
  close(): void;
}

export interface MachineOptions {
  readonly logger: Logger;
  /** Owned by the machine; it calls {@link Machine.wake}. */
  readonly vm: MachineVm;
  /** Guest memory, closed after the virtual machine. */
  readonly memory: { close(): void };
}

/** A vCPU that has stopped for a debugger, and why: `enum tsvm_debug_cause` of the addon. */
export interface DebugStop {
  readonly cpu: number;
  readonly causes: number;
}

/** The interface of a machine for its users; the rest of {@link Machine} is for devices. */
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

/** The message of an error that users can fix, or the stack of an internal error. */
function failureText(error: unknown): string {
  const text = errorText(error);
  return error instanceof TsvmError ? text : `a device failed: ${text}`;
}

/** A virtual machine with its vCPUs and devices. Only this class decides when it ends. */
export class Machine {
  /** Fulfilled when the machine has stopped by itself or by {@link stop}. */
  readonly ended: Promise<MachineEnd>;
  /** Connections to and from the guest by virtio-vsock; undefined without the device. */
  vsock: VsockPorts | undefined;
  /** Dispatches slow exits. */
  readonly bus = new Bus();
  /** What the host may ask of its devices while it runs. */
  readonly controls: MachineControls = { disks: new Map(), nets: new Map() };
  /** Called when all vCPUs have parked because these have stopped for a debugger. */
  onDebugStop: ((stops: readonly DebugStop[]) => void) | undefined;
  readonly #vm: MachineVm;
  readonly #logger: Logger;
  readonly #devices = new Map<string, MachineDevice>();
  readonly #resolveEnd: (end: MachineEnd) => void;
  #state: MachineState = 'created';
  #panicked = false;
  #panicTimer: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  readonly #debugStops: DebugStop[] = [];
  /** Called once the vCPUs have parked. */
  readonly #onParked: (() => void)[] = [];
  /** Releases of open resources, to be called in reverse order. */
  readonly #resources = new Set<Release>();

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

  /**
   * Adds a device, to a running machine, too. Devices are closed in reverse order.
   * @returns closes the device before that, after which the machine no longer has it
   */
  addDevice(device: MachineDevice): Release {
    this.#devices.set(device.id, device);
    const close = this.own(() => device.close());
    if (this.#state === 'running') this.contain(() => device.resume());
    return () => {
      this.#devices.delete(device.id);
      return close();
    };
  }

  /**
   * Registers an open resource. `release` is called when the machine is closed, in reverse order,
   * even if other releases fail.
   * @returns releases it before that; once
   */
  own(release: () => void | Promise<void>): Release {
    let released: Promise<void> | undefined;
    const releaseOnce = () => {
      // A machine that is closed meanwhile waits for it.
      released ??= (async () => release())().finally(() => this.#resources.delete(releaseOnce));
      return released;
    };
    this.#resources.add(releaseOnce);
    return releaseOnce;
  }

  /**
   * Runs a callback from a thread, a timer or a sink. An exception ends the machine with the reason;
   * otherwise it would be lost and a vCPU would wait for ever.
   */
  contain<T>(action: () => T): T | undefined {
    try {
      return action();
    } catch (error) {
      this.fail(error);
      return undefined;
    }
  }

  /** Ends the machine because a part of it has failed. If it has already ended, only logs the error. */
  fail(error: unknown): void {
    const message = failureText(error);
    if (this.#state === 'stopped') this.#logger.error(message);
    else this.#end({ reason: 'failed', message });
  }

  /** Handles everything that vCPU threads and register rings have left for this thread. */
  wake(): void {
    for (const slot of this.#vm.slots) {
      // The vCPUs of a stopped machine no longer wait for anything, and no new work may begin.
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
      this.#completeAccesses();
      this.#vm.pause();
    });
    await this.#parked();
    if (this.#isIn('pausing')) await this.#quiesceDevices();
    if (!this.#isIn('pausing')) {
      throw new TsvmError('wrong-state', 'the machine has ended before it could pause');
    }
    this.#enter('paused');
  }

  /**
   * Parks the vCPUs for a debugger, whatever state the machine is in; devices go on. Resolves when the
   * vCPUs have parked, or have ended.
   */
  async hold(): Promise<void> {
    if (this.#closing !== undefined) return;
    this.contain(() => {
      this.#completeAccesses();
      this.#vm.hold();
    });
    await this.#held();
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

  /** Stops the machine immediately, like pulling its plug. */
  stop(): void {
    this.#end({ reason: 'stopped' });
  }

  /** The guest has powered off. */
  powerOff(): void {
    this.#end(this.#panicked ? { reason: 'panic' } : { reason: 'poweroff' });
  }

  /** The guest has requested a reset. After a panic, the end is still reported as a panic. */
  reset(): void {
    this.#end(this.#panicked ? { reason: 'panic' } : { reason: 'reset' });
  }

  /** The guest's kernel has reported a panic. It may still print messages and reset. */
  panic(): void {
    if (this.#panicked) return;
    this.#panicked = true;
    // Otherwise the machine is pausing, and the time limit does not apply.
    if (this.#state === 'running') this.#awaitPanic();
  }

  /**
   * The state of each device by its id, as plain data; see {@link MachineDevice.save}.
   * @throws TsvmError `wrong-state` unless the machine is paused
   */
  saveDevices(): Readonly<Record<string, DeviceState>> {
    if (this.#state !== 'paused') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine has no state: pause it first`);
    }
    return Object.fromEntries([...this.#devices].map(([id, device]) => [id, device.save()]));
  }

  /**
   * Restores the devices' states of a machine with the same configuration.
   * @param added ids of devices that the saved machine need not have had
   * @throws TsvmError `wrong-state` if the machine was started before, `invalid-state`; the machine
   * must be closed then
   */
  loadDevices(states: Readonly<Record<string, DeviceState>>, added = /^$/): void {
    if (this.#state !== 'created') {
      throw new TsvmError('wrong-state', `a ${this.#state} machine takes no state: make a new one`);
    }
    const strangers = Object.keys(states).filter((id) => !this.#devices.has(id));
    const hasState = (id: string) => Object.hasOwn(states, id);
    const missing = [...this.#devices.keys()].filter((id) => !hasState(id) && !added.test(id));
    if (strangers.length + missing.length > 0) {
      throw new TsvmError(
        'invalid-state',
        'the saved state is that of a machine with other devices: ' +
          `it has [${strangers}] besides and lacks [${missing}]`,
      );
    }
    for (const [id, device] of this.#devices) {
      if (hasState(id)) device.load(states[id] as DeviceState);
    }
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
   * Stops the machine if necessary, waits for its I/O and releases all resources, even if some of that
   * fails. Idempotent. Rejects with the failure, or with an AggregateError.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.stop();
    // First, so that no device gets new work while it completes the old.
    this.own(() => {
      // Once more: it may be what failed.
      this.#vm.stop();
      return this.#parked();
    });
    const resources = new AsyncDisposableStack();
    for (const release of this.#resources) resources.defer(release);
    await unwind(resources);
  }

  #enter(state: MachineState): void {
    const legal: readonly MachineState[] = TRANSITIONS[this.#state];
    if (!legal.includes(state)) {
      throw new TsvmError('wrong-state', `a ${this.#state} machine cannot become ${state}`);
    }
    this.#state = state;
  }

  /** Reads the state again: a call may have changed it, which TypeScript's narrowing ignores. */
  #isIn(state: MachineState): boolean {
    return this.#state === state;
  }

  #end(end: MachineEnd): void {
    if (this.#state === 'stopped') return;
    clearTimeout(this.#panicTimer);
    this.#enter('stopped');
    // `stopped` is final: if this fails too, the first reason is reported.
    this.contain(() => this.#vm.stop());
    // The guest's last output is still in the rings.
    let reason = end;
    for (const device of this.#devices.values()) {
      try {
        device.poll?.();
        device.pollLast?.();
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

  /** Of vCPUs that wait for something on the host. */
  #completeAccesses(): void {
    for (const device of this.#devices.values()) device.completeAccesses?.();
  }

  /** Resolves when the vCPUs have parked for a debugger. The devices go on, unless there is a pause. */
  async #held(): Promise<void> {
    await this.#parked();
    if (this.#state !== 'running' && this.#state !== 'created') return;
    for (const device of this.#devices.values()) this.contain(() => device.allowWaiting?.());
  }

  /** One or more vCPUs have stopped for a debugger, and hold the others. */
  #debugStopped(stop: DebugStop): void {
    this.#debugStops.push(stop);
    if (this.#debugStops.length > 1) return;
    this.#completeAccesses();
    void this.#held().then(() =>
      this.contain(() => this.onDebugStop?.(this.#debugStops.splice(0))),
    );
  }

  #resumeDevices(): void {
    for (const device of this.#devices.values()) this.contain(() => device.resume());
  }

  /** A failure of a device ends the machine. */
  async #quiesceDevices(): Promise<void> {
    const quiesce = async (device: MachineDevice) => device.quiesce();
    for (const outcome of await Promise.allSettled([...this.#devices.values()].map(quiesce))) {
      if (outcome.status === 'rejected') this.fail(outcome.reason);
    }
  }

  /** Resolves when no vCPU runs any more, after they were told to park or to stop. */
  #parked(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onParked.push(resolve);
    this.#checkParked();
    return promise;
  }

  #checkParked(): void {
    if (this.#onParked.length === 0 || !this.#vm.parked) return;
    // A vCPU that has ended by itself has left the reason in its slot, and a wake is pending.
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
      case 'debug':
        this.#vm.completeExit(slot);
        this.#debugStopped({ cpu: slot.cpu, causes: slot.dataLow });
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
