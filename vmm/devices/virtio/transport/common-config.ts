import type { StateReader, StateValue } from '../../device-state.ts';
import type { ActivationContext, VirtioDevice } from '../device.ts';
import { featuresRefusal, featuresWord, replaceFeaturesWord } from '../features.ts';
import {
  loadQueue,
  type QueueAddressHalf,
  type QueueConfig,
  type QueueRegisters,
  queueConfig,
  resetQueue,
  saveQueue,
} from '../queue.ts';
import {
  DEVICE_NEEDS_RESET,
  DRIVER,
  DRIVER_OK,
  FAILED,
  FEATURES_OK,
  isReachable,
  statusAction,
} from '../status.ts';

export interface CommonConfigOptions {
  readonly device: VirtioDevice;
  /** Sends the driver a configuration change notification. */
  readonly notifyConfigChange: () => void;
  /** Clears the transport's own registers, before the status reads 0. */
  readonly onReset: () => void;
  /** Reports a guest error, for the log. The callee limits the rate. */
  readonly onGuestError: (reason: string) => void;
  /** The interrupt of each queue, where a driver chooses it; see {@link QueueConfig.interrupt}. */
  readonly interruptOf?: (queue: number) => number | null;
}

/**
 * The part that all transports have in common: device status, features, queue configuration,
 * activation and reset (virtio 1.2, sections 2.1, 2.2, 2.4 and 3.1). The transport translates register
 * accesses into calls. An illegal call changes nothing and returns false.
 */
export class CommonConfig {
  readonly #device: VirtioDevice;
  readonly #notifyConfigChange: () => void;
  readonly #onReset: () => void;
  readonly #onGuestError: (reason: string) => void;
  readonly #interruptOf: ((queue: number) => number | null) | undefined;
  #status = 0;
  #driverFeatures = 0n;
  #queues: readonly QueueRegisters[];
  #activation: ActivationContext | undefined;
  #resetting: Promise<void> | undefined;

  constructor(options: CommonConfigOptions) {
    this.#device = options.device;
    this.#notifyConfigChange = options.notifyConfigChange;
    this.#onReset = options.onReset;
    this.#onGuestError = options.onGuestError;
    this.#interruptOf = options.interruptOf;
    this.#queues = this.#device.queueSizes.map(resetQueue);
  }

  /** 0 after a reset, and only once it is complete (2.4.2). */
  get status(): number {
    return this.#status;
  }

  deviceFeatures(select: number): number {
    return featuresWord(this.#device.features, select);
  }

  setDriverFeatures(select: number, word: number): boolean {
    // "The driver MUST NOT accept new feature bits after this step" (3.1.1, step 5).
    if ((this.#status & (DRIVER | FEATURES_OK)) !== DRIVER) return false;
    if (select === 0 || select === 1) {
      this.#driverFeatures = replaceFeaturesWord(this.#driverFeatures, select, word);
      return true;
    }
    // A driver may write 0 for the bits beyond 63.
    return word === 0;
  }

  /** The maximum size of a queue; 0 if there is no such queue. */
  queueSizeMax(index: number): number {
    return this.#device.queueSizes[index] ?? 0;
  }

  queueReady(index: number): boolean {
    return this.#queues[index]?.ready ?? false;
  }

  /** The registers of a queue, to be read only. */
  queueRegisters(index: number): Readonly<QueueRegisters> | undefined {
    return this.#queues[index];
  }

  /** Whether the driver may choose a queue's interrupt: before the queue is in service. */
  mayChooseInterrupt(index: number): boolean {
    return this.#configurableQueue(index) !== undefined;
  }

  driverFeatures(select: number): number {
    return featuresWord(this.#driverFeatures, select);
  }

  /**
   * Sets whether a queue is ready, before DRIVER_OK. A queue in service can be stopped; it then stays
   * stopped until a reset: "To stop using the queue the driver MUST write zero (0x0) to this
   * QueueReady and MUST read the value back to ensure synchronization" (4.2.2.2). A promise resolves
   * when the device no longer accesses the queue; until then the queue stays ready.
   */
  setQueueReady(index: number, ready: boolean): boolean | Promise<void> {
    const queue = this.#configurableQueue(index);
    if (queue === undefined) return ready ? false : this.#stopQueue(index);
    queue.ready = ready;
    return true;
  }

  #stopQueue(index: number): boolean | Promise<void> {
    const queue = this.#queues[index];
    if (!queue?.ready || this.#activation === undefined) return false;
    const stop = () => {
      queue.ready = false;
    };
    // A device that needs a reset has already stopped.
    if ((this.#status & DEVICE_NEEDS_RESET) === 0) return this.#device.stopQueue(index).then(stop);
    stop();
    return true;
  }

  /** Sets the number of a queue's descriptors, while the queue is not ready (4.2.2.2). */
  setQueueSize(index: number, size: number): boolean {
    const queue = this.#unreadyQueue(index);
    if (queue === undefined) return false;
    queue.size = size;
    return true;
  }

  /** Sets half of an address of a queue, while the queue is not ready (4.2.2.2). */
  setQueueAddress(index: number, { part, half }: QueueAddressHalf, value: number): boolean {
    const queue = this.#unreadyQueue(index);
    if (queue === undefined) return false;
    queue[part][half] = value;
    return true;
  }

  #unreadyQueue(index: number): QueueRegisters | undefined {
    const queue = this.#configurableQueue(index);
    return queue?.ready === true ? undefined : queue;
  }

  /** Queues are set up after the features are negotiated, and before DRIVER_OK (3.1.1, step 7). */
  #configurableQueue(index: number): QueueRegisters | undefined {
    if ((this.#status & (FEATURES_OK | DRIVER_OK)) !== FEATURES_OK) return undefined;
    return this.#queues[index];
  }

  /** Handles the driver's write of a non-zero `value`. */
  setStatus(value: number): boolean {
    const action = statusAction(this.#status, value);
    if (action === undefined || this.#resetting !== undefined) return false;
    this.#status |= value & FAILED;
    switch (action) {
      case 'none':
        this.#status |= value;
        return true;
      case 'negotiate':
        return this.#negotiate();
      case 'activate':
        this.#status |= DRIVER_OK;
        this.#activate();
        return true;
    }
  }

  /**
   * Resets the device, as when the driver writes 0 to the status. If a promise is returned, it
   * resolves when the device no longer accesses guest memory; until then the status is unchanged, and
   * a second reset waits for the first.
   */
  reset(): void | Promise<void> {
    if (this.#resetting !== undefined) return this.#resetting;
    if (this.#activation === undefined) {
      this.#clear();
      return undefined;
    }
    // Reports of this activation are ignored from here on.
    this.#activation = undefined;
    this.#resetting = this.#device.reset().then(() => {
      this.#resetting = undefined;
      this.#clear();
    });
    return this.#resetting;
  }

  /** Resolves when the device no longer accesses guest memory. No vCPU runs. */
  async quiesce(): Promise<void> {
    await this.#resetting;
    if (this.#activation !== undefined) await this.#device.quiesce();
  }

  /** Continues after {@link quiesce} or {@link load}. */
  resume(): void {
    if ((this.#status & (DRIVER_OK | DEVICE_NEEDS_RESET)) === DRIVER_OK) this.#activate();
  }

  save(): StateValue {
    return {
      status: this.#status,
      driverFeatures: {
        low: featuresWord(this.#driverFeatures, 0),
        high: featuresWord(this.#driverFeatures, 1),
      },
      queues: this.#queues.map(saveQueue),
      config: this.#device.config.save(),
      ...(this.#device.save && { device: this.#device.save() }),
    };
  }

  /** @throws TsvmError `invalid-state` */
  load(state: StateReader): void {
    const status = state.number('status', 0xff);
    if (!isReachable(status)) state.fail(`no device has the status 0x${status.toString(16)}`);
    const words = state.part('driverFeatures');
    let features = replaceFeaturesWord(0n, 0, words.number('low', 0xffff_ffff));
    features = replaceFeaturesWord(features, 1, words.number('high', 0xffff_ffff));
    const refusal = featuresRefusal(this.#device.features, features);
    if ((status & FEATURES_OK) !== 0 && refusal !== undefined) state.fail(refusal);
    const queues = state.list('queues', this.#device.queueSizes.length).map(loadQueue);
    this.#device.config.load(state.part('config'));
    this.#device.load?.(state.part('device'));
    this.#status = status;
    this.#driverFeatures = features;
    this.#queues = queues;
  }

  #clear(): void {
    this.#driverFeatures = 0n;
    this.#queues = this.#device.queueSizes.map(resetQueue);
    this.#onReset();
    this.#status = 0;
  }

  #negotiate(): boolean {
    const refusal = featuresRefusal(this.#device.features, this.#driverFeatures);
    if (refusal !== undefined) {
      // The driver reads the status back and finds the bit clear (3.1.1, step 6).
      this.#onGuestError(refusal);
      return false;
    }
    this.#status |= FEATURES_OK;
    return true;
  }

  #activate(): void {
    const queues: QueueConfig[] = [];
    const refusals: string[] = [];
    for (const [index, registers] of this.#queues.entries()) {
      if (!registers.ready) continue;
      const config = queueConfig(index, registers, this.queueSizeMax(index));
      if (typeof config === 'string') refusals.push(config);
      else if (this.#interruptOf === undefined) queues.push(config);
      else queues.push({ ...config, interrupt: this.#interruptOf(index) });
    }
    const activation: ActivationContext = {
      features: this.#driverFeatures,
      queues,
      configChanged: () => {
        if (this.#activation === activation) this.#notifyConfigChange();
      },
      needsReset: (reason) => {
        if (this.#activation === activation) this.#needReset(reason);
      },
    };
    this.#activation = activation;
    if (refusals.length > 0) {
      this.#needReset(refusals.join('; '));
      return;
    }
    try {
      this.#device.activate(activation);
    } catch (error) {
      this.#needReset(error instanceof Error ? error.message : String(error));
    }
  }

  /**
   * "If DRIVER_OK is set, after it sets DEVICE_NEEDS_RESET, the device MUST send a device
   * configuration change notification to the driver" (2.1.2). DRIVER_OK is set during an activation.
   */
  #needReset(reason: string): void {
    this.#onGuestError(reason);
    this.#status |= DEVICE_NEEDS_RESET;
    this.#notifyConfigChange();
  }
}
