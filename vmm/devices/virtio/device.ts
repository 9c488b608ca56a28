import type { StateReader, StateValue } from '../device-state.ts';
import type { ConfigSpace } from './config-space.ts';
import type { QueueConfig } from './queue.ts';

/** What a device gets when its driver is ready (DRIVER_OK), valid until the reset. */
export interface ActivationContext {
  /** The negotiated features: a subset of those offered. */
  readonly features: bigint;
  /** The queues that the driver made ready, in ascending order. */
  readonly queues: readonly QueueConfig[];
  /** Tells the driver that the configuration space has changed. */
  configChanged(): void;
  /** Reports a guest error after which the device cannot continue (DEVICE_NEEDS_RESET). */
  needsReset(reason: string): void;
}

/**
 * A virtio device without its transport.
 */
export interface VirtioDevice {
  /** Stable and unique in the machine, such as `disk0`. Used in logs, metrics and saved states. */
  readonly id: string;
  /** Virtio 1.2, section 5. */
  readonly deviceId: number;
  /** The offered features, including VIRTIO_F_VERSION_1. */
  readonly features: bigint;
  /** The maximum size of each queue, a power of two, by queue index. */
  readonly queueSizes: readonly number[];
  readonly config: ConfigSpace;
  /** A driver's write to the configuration space; a device without it has no writable field. */
  writeConfig?(offset: number, width: number, value: number): void;
  /**
   * Starts serving the queues, or continues after {@link quiesce}, from the current used indexes.
   * Throws if it cannot; the driver then sees DEVICE_NEEDS_RESET.
   */
  activate(context: ActivationContext): void;
  /**
   * Pauses the queues until {@link activate} is called again. Resolves when the device no longer
   * accesses guest memory. Never rejects.
   */
  quiesce(): Promise<void>;
  /**
   * Takes a queue out of service until the next activation; the others continue. Resolves when the
   * device no longer accesses the queue. Never rejects.
   */
  stopQueue(index: number): Promise<void>;
  /** Undoes {@link activate}. Resolves when the device no longer accesses guest memory. */
  reset(): Promise<void>;
  statistics(): Readonly<Record<string, number>>;
  /** Counters of each queue, by its index. */
  queueStatistics?(): readonly Readonly<Record<string, number>>[];
  /** Values that go up and down. */
  gauges?(): Readonly<Record<string, number>>;
  /** Saves the device's own state; the transport saves the rest. Call it while quiesced. */
  save?(): StateValue;
  /**
   * Restores the result of {@link save}, before the first {@link activate}.
   * @throws TsvmError `invalid-state`
   */
  load?(state: StateReader): void;
}
