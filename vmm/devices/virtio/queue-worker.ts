import type { ActivationContext } from './device.ts';
import { featuresWord, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC } from './features.ts';
import type { QueueConfig } from './queue.ts';

/** What a queue worker is told of an activation. */
export interface QueueStart {
  readonly queues: readonly QueueConfig[];
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** The low 32 negotiated feature bits: those that are the device's own. */
  readonly features: number;
}

/**
 * The thread that serves the queues of one device: the data plane. The machine makes it and gives it
 * guest memory, kicks and the interrupt; a device starts and stops it.
 */
export interface QueueWorker {
  /**
   * Serves the queues from where their used rings stand: the start, or where they were when the
   * worker was stopped. Throws when a ring is not in guest memory.
   */
  start(start: QueueStart): void;
  /** Takes no more requests; resolves when none is in flight. A worker not started is stopped. */
  stop(): Promise<void>;
  statistics(): Readonly<Record<string, number>>;
}

/** Makes a worker. `onBroken`: the guest broke a queue, and the worker serves nothing more. */
export type CreateQueueWorker = (onBroken: (reason: string) => void) => QueueWorker;

/** The lifecycle of a device whose queues are all served by one worker. */
export abstract class QueueWorkerDevice {
  readonly #worker: QueueWorker;
  #activation: ActivationContext | undefined;
  /** Those in service. A new list stands for each decision about which they are. */
  #queues: readonly QueueConfig[] = [];

  constructor(createWorker: CreateQueueWorker) {
    this.#worker = createWorker((reason) => this.#activation?.needsReset(reason));
  }

  activate(context: ActivationContext): void {
    this.#activation = context;
    this.#queues = context.queues;
    this.#start(context.features);
  }

  /** The worker stops, and goes on without the queue. */
  async stopQueue(index: number): Promise<void> {
    const activation = this.#activation;
    const queues = this.#queues.filter((queue) => queue.index !== index);
    this.#queues = queues;
    await this.#worker.stop();
    // A reset may have come meanwhile, or the stop of another queue: what is in service is theirs.
    if (activation === undefined || this.#queues !== queues) return;
    try {
      this.#start(activation.features);
    } catch (error) {
      activation.needsReset(error instanceof Error ? error.message : String(error));
    }
  }

  async reset(): Promise<void> {
    this.#activation = undefined;
    this.#queues = [];
    await this.#worker.stop();
  }

  statistics(): Readonly<Record<string, number>> {
    return this.#worker.statistics();
  }

  /** Tells the driver, if there is one, that the configuration space has changed. */
  protected configChanged(): void {
    this.#activation?.configChanged();
  }

  #start(features: bigint): void {
    this.#worker.start({
      queues: this.#queues,
      eventIdx: (features & VIRTIO_F_EVENT_IDX) !== 0n,
      indirect: (features & VIRTIO_F_INDIRECT_DESC) !== 0n,
      features: featuresWord(features, 0),
    });
  }
}
