/** The contract between a machine and each of its devices, chips included. */

import { type DeviceState, StateReader } from './device-state.ts';

/** Counters by name; each only grows. */
export type Counters = Readonly<Record<string, number>>;

/** Values by name that go up and down. */
export type Gauges = Readonly<Record<string, number>>;

/**
 * A device as its machine holds it. It is made quiesced; {@link resume} starts it, before the vCPUs
 * run. A pause is: {@link completeAccesses}, then the vCPUs park, then {@link quiesce}.
 */
export interface MachineDevice {
  /** Stable and unique in its machine, such as `disk0` or `serial`: names the device's state. */
  readonly id: string;
  /** Looks at what vCPU threads left for the device; called on each wake of the machine. */
  poll?(): void;
  /**
   * A pause begins: completes the guest's accesses that wait for something that may never happen,
   * such as a reader of the console, and lets none wait before {@link resume}. vCPUs still run.
   */
  completeAccesses?(): void;
  /**
   * Stops the device; no vCPU runs. Once it resolves, the device changes neither guest memory nor
   * interrupts nor itself, and holds back what the host sends it. Idempotent.
   */
  quiesce(): void | Promise<void>;
  /** Goes on from where {@link quiesce} or {@link load} left the device. No vCPU runs yet. */
  resume(): void;
  /** The device's state; it is quiesced. */
  save(): DeviceState;
  /**
   * Takes over the state of a device with the same configuration. Called on a device that has never
   * run; {@link resume} follows.
   * @throws TsvmError `invalid-state`, for a state that no device of this configuration can have
   */
  load(state: DeviceState): void;
  statistics?(): Counters;
  /** Counters of each virtqueue, by its index. */
  queueStatistics?(): readonly Counters[];
  gauges?(): Gauges;
  /** Ends its I/O, quiesced or not; resolves when nothing of it touches guest memory any more. */
  close(): Promise<void>;
}

/** A chip whose registers never change: there is nothing to stop, to save or to close. */
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
