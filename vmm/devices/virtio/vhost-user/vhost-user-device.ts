import type { StateReader, StateValue } from '../../device-state.ts';
import type { ConfigSpace } from '../config-space.ts';
import type { ActivationContext, VirtioDevice } from '../device.ts';
import { QUEUE_FEATURES, VIRTIO_F_VERSION_1 } from '../features.ts';
import { type CreateQueueWorker, QueueWorkerDevice } from '../queue-worker.ts';

/** Time for the backend to complete the requests in flight when the driver resets the device. */
const DRAIN_TIMEOUT_MS = 5_000;

/** The process that serves the device. */
export interface DeviceBackend {
  /** Activates the rings for a driver with these features. Throws when that fails. */
  start(features: bigint): void;
  /** Ends the process, if it runs. Resolves when it can no longer access guest memory. */
  stop(): Promise<void>;
  /** Discards the requests that were in flight; the process has been stopped. */
  abandon(): void;
}

export interface VhostUserDeviceOptions {
  readonly id: string;
  /** Virtio 1.2, section 5. */
  readonly deviceId: number;
  /** Feature bits of the device type. */
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly config: ConfigSpace;
  readonly backend: DeviceBackend;
  readonly createWorker: CreateQueueWorker;
}

/** A device, of any type, that a vhost-user backend serves. */
export class VhostUserDevice extends QueueWorkerDevice implements VirtioDevice {
  readonly id: string;
  readonly deviceId: number;
  readonly features: bigint;
  readonly queueSizes: readonly number[];
  readonly config: ConfigSpace;
  readonly #backend: DeviceBackend;
  /** Whether the backend has served the current driver. */
  #inUse = false;

  constructor(options: VhostUserDeviceOptions) {
    super(options.createWorker);
    this.id = options.id;
    this.deviceId = options.deviceId;
    this.features = options.features | QUEUE_FEATURES | VIRTIO_F_VERSION_1;
    this.queueSizes = options.queueSizes;
    this.config = options.config;
    this.#backend = options.backend;
  }

  override activate(context: ActivationContext): void {
    // After a pause, the backend continues with the rings that it has.
    if (!this.#inUse) this.#backend.start(context.features);
    this.#inUse = true;
    super.activate(context);
  }

  /** A backend that does not complete its requests is ended. The next driver gets a new one. */
  override async reset(): Promise<void> {
    const timer = setTimeout(() => this.#end(), DRAIN_TIMEOUT_MS);
    await super.reset();
    clearTimeout(timer);
    this.#inUse = false;
    await this.#backend.stop();
  }

  save(): StateValue {
    return { inUse: this.#inUse };
  }

  load(state: StateReader): void {
    if (!state.boolean('inUse')) return;
    state.fail('what its backend knew is lost: unmount shared directories before saving');
  }

  async #end(): Promise<void> {
    await this.#backend.stop();
    this.#backend.abandon();
  }
}
