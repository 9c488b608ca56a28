import type { StateReader, StateValue } from '../device-state.ts';
import type { ConfigSpace } from './config-space.ts';
import type { QueueConfig } from './queue.ts';

/** What a device is given when its driver is ready (DRIVER_OK), until it is reset. */
export interface ActivationContext {
  /** The negotiated features: a subset of those offered. */
  readonly features: bigint;
  /** The queues that the driver made ready, in ascending order. */
  readonly queues: readonly QueueConfig[];
  /** Tells the driver that the configuration space has changed. */
  configChanged(): void;
  /** The guest made a mistake that the device cannot go on from (DEVICE_NEEDS_RESET). */
  needsReset(reason: string): void;
}

/**
 * The device half of a virtio device: what it is and what it does. How a driver reaches it is the
 * transport's affair.
 */
export interface VirtioDevice {
  /** Stable and unique in its machine, such as `disk0`: for logs, metrics and saved states. */
  readonly id: string;
  /** Virtio 1.2, section 5. */
  readonly deviceId: number;
  /** The features that it offers, VIRTIO_F_VERSION_1 among them. */
  readonly features: bigint;
  /** The largest size of each queue, powers of two; the index is the queue's. */
  readonly queueSizes: readonly number[];
  readonly config: ConfigSpace;
  /** A driver's write to the configuration space; a device without it has no writable field. */
  writeConfig?(offset: number, width: number, value: number): void;
  /**
   * Begins to serve the queues, or goes on with them after {@link quiesce}: from where their used
   * rings stand. Throws when it cannot: the driver then finds that the device needs a reset.
   */
  activate(context: ActivationContext): void;
  /**
   * Leaves the queues as they are until {@link activate} is called again: resolves when nothing of
   * the device touches guest memory any more. Never rejects.
   */
  quiesce(): Promise<void>;
  /**
   * Takes a queue out of service until the next activation; the others stay in it. Resolves when
   * nothing of the device touches the queue any more, and never rejects.
   */
  stopQueue(index: number): Promise<void>;
  /** Ends what {@link activate} began: resolves when nothing of it touches guest memory any more. */
  reset(): Promise<void>;
  statistics(): Readonly<Record<string, number>>;
  /** Counters of each queue, by its index. */
  queueStatistics?(): readonly Readonly<Record<string, number>>[];
  /** Values that go up and down. */
  gauges?(): Readonly<Record<string, number>>;
  /** The device's own state, besides what its transport saves. It is quiesced. */
  save?(): StateValue;
  /**
   * Takes over what {@link save} gave, before the first {@link activate}.
   * @throws TsvmError `invalid-state`
   */
  load?(state: StateReader): void;
}
