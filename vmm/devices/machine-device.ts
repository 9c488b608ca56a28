/** The contract between a machine and each of its devices, chips included. */

import { type DeviceState, StateReader } from './device-state.ts';

/** Counters by name, which never decrease. */
export type Counters = Readonly<Record<string, number>>;

/** Values by name that go up and down. */
export type Gauges = Readonly<Record<string, number>>;

/**
 * A device of a machine. It is created quiesced; {@link resume} starts it before the vCPUs run. To
 * pause, the machine calls {@link completeAccesses}, parks the vCPUs and calls {@link quiesce}.
 */
export interface MachineDevice {
  /** Stable and unique in the machine, such as `disk0` or `serial`: the key of the device's state. */
  readonly id: string;
  /** Handles what vCPU threads have left for the device. Called on each wake of the machine. */
  poll?(): void;
  /** Handles what {@link poll} puts off. Called when the guest has run for the last time. */
  pollLast?(): void;
  /**
   * Called when a pause begins, while vCPUs still run. Completes the guest's accesses that wait for an
   * event that may never happen, such as a reader of the console; none may wait until {@link resume}.
   */
  completeAccesses?(): void;
  /** Ends what {@link completeAccesses} has begun, when no pause follows: the vCPUs have parked. */
  allowWaiting?(): void;
  /**
   * Stops the device; no vCPU runs. Once it resolves, the device changes neither guest memory nor
   * interrupts nor its own state, and keeps input from the host waiting. Idempotent.
   */
  quiesce(): void | Promise<void>;
  /** Continues after {@link quiesce} or {@link load}. No vCPU runs yet. */
  resume(): void;
  /** Returns the state of the quiesced device. */
  save(): DeviceState;
  /**
   * Restores the state of a device with the same configuration. Called on a device that has never
   * run, before {@link resume}.
   * @throws TsvmError `invalid-state`, for a state that no device of this configuration can have
   */
  load(state: DeviceState): void;
  statistics?(): Counters;
  /** Counters of each virtqueue, by its index. */
  queueStatistics?(): readonly Counters[];
  gauges?(): Gauges;
  /** Ends all I/O, whether quiesced or not. Resolves when the device no longer accesses guest memory. */
  close(): Promise<void>;
}

/** A chip without state: there is nothing to stop, save or close. */
export abstract class StatelessDevice implements MachineDevice {
  abstract readonly id: string;

  quiesce(): void {}

  resume(): void {}

  save(): DeviceState {
    return { version: 1 };
  }

  load(state: DeviceState): void {
    new StateReader(this.id, state, 1);
  }

  async close(): Promise<void> {}
}
