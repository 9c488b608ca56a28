import type { ActivationContext } from './device.ts';
import { featuresWord, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC } from './features.ts';
import type { QueueConfig } from './queue.ts';

/** The activation parameters of a queue worker. */
export interface QueueStart {
  readonly queues: readonly QueueConfig[];
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  readonly eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  readonly indirect: boolean;
  /** The low 32 negotiated feature bits, which are those of the device type. */
  readonly features: number;
}

/**
 * A thread that serves queues of one device: the data plane. The machine creates it with guest
 * memory, kicks and the interrupt; a device starts and stops it.
 */
export interface QueueWorker {
  /**
   * Serves the queues from their current used indexes. Throws if a ring is not in guest memory.
   */
  start(start: QueueStart): void;
  /** Accepts no more requests; resolves when none is in flight. No-op for a stopped worker. */
  stop(): Promise<void>;
  statistics(): Readonly<Record<string, number>>;
  /** Counters of each queue by its index; those of other workers' queues are 0. */
  queueStatistics?(): readonly Readonly<Record<string, number>>[];
}

/**
 * Makes a worker. `onBroken`: the guest broke a queue, and the worker serves nothing more. `worker`
 * is its number in the device's {@link WorkerDivision}.
 */
export type CreateQueueWorker = (onBroken: (reason: string) => void, worker: number) => QueueWorker;

/** How a device's queues are divided among worker threads. */
export interface WorkerDivision {
  readonly workers: number;
  /** The worker number, from 0, for a queue index. */
  workerOf(queue: number): number;
}

const ONE_WORKER: WorkerDivision = { workers: 1, workerOf: () => 0 };

/** A worker with those of its queues that are in service. */
interface Served {
  readonly worker: QueueWorker;
  /** Replaced by a new array whenever it changes. */
  queues: readonly QueueConfig[];
}

/** The lifecycle of a device whose queues are served by workers. */
export abstract class QueueWorkerDevice {
  readonly #served: readonly Served[];
  readonly #division: WorkerDivision;
  #activation: ActivationContext | undefined;
  /** The workers are to run, except while {@link #held}. */
  #serving = false;
  /** The configuration space has changed since the quiesce. */
  #hasNews = false;
  /** Resolves at the end of {@link whileStopped}. */
  #held: Promise<void> | undefined;

  constructor(createWorker: CreateQueueWorker, division = ONE_WORKER) {
    this.#division = division;
    this.#served = Array.from({ length: division.workers }, (_, worker) => ({
      worker: createWorker((reason) => this.#needReset(reason), worker),
      queues: [],
    }));
  }

  activate(context: ActivationContext): void {
    this.#activation = context;
    for (const [worker, served] of this.#served.entries()) {
      served.queues = context.queues.filter(
        ({ index }) => this.#division.workerOf(index) === worker,
      );
    }
    if (this.#held === undefined) this.#startAll(context);
    this.#serving = true;
    if (this.#hasNews) this.configChanged();
  }

  /** Restarts the queue's worker without the queue. */
  async stopQueue(index: number): Promise<void> {
    const served = this.#served[this.#division.workerOf(index)];
    if (served === undefined) return;
    const queues = served.queues.filter((queue) => queue.index !== index);
    served.queues = queues;
    await served.worker.stop();
    // A reset or the stop of another queue may have happened meanwhile and changed the list.
    if (served.queues !== queues) return;
    this.#restart((activation) => this.#start(activation, served));
  }

  async quiesce(): Promise<void> {
    this.#serving = false;
    if (this.#held !== undefined) await this.#held;
    await this.#stopAll();
  }

  async reset(): Promise<void> {
    this.#activation = undefined;
    this.#hasNews = false;
    for (const served of this.#served) served.queues = [];
    await this.quiesce();
  }

  /** Counters by name, summed over the workers. */
  statistics(): Readonly<Record<string, number>> {
    return this.#served.map(({ worker }) => worker.statistics()).reduce(sumOf, {});
  }

  /** Counters of each queue, by its index. */
  queueStatistics(): readonly Readonly<Record<string, number>>[] {
    const queues: Record<string, number>[] = [];
    for (const { worker } of this.#served) {
      for (const [index, counters] of (worker.queueStatistics?.() ?? []).entries()) {
        queues[index] = sumOf(queues[index] ?? {}, counters);
      }
    }
    return queues;
  }

  /**
   * Notifies the driver, if there is one, that the configuration space has changed; that of a quiesced
   * device once it goes on.
   */
  protected configChanged(): void {
    this.#hasNews = !this.#serving && this.#activation !== undefined;
    if (this.#serving) this.#activation?.configChanged();
  }

  /**
   * Runs `action` while no chain is in flight and none is taken; chains that the driver makes
   * available meanwhile are served afterwards. One such action at a time.
   */
  protected async whileStopped(action: () => Promise<void>): Promise<void> {
    if (this.#held !== undefined) throw new Error('the queues are stopped already');
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held = promise;
    try {
      await this.#stopAll();
      await action();
    } finally {
      this.#held = undefined;
      this.#restart((activation) => this.#startAll(activation));
      resolve();
    }
  }

  /** Stops all workers, even if one of them fails to. */
  async #stopAll(): Promise<void> {
    const stops = await Promise.allSettled(this.#served.map(async ({ worker }) => worker.stop()));
    for (const stop of stops) if (stop.status === 'rejected') throw stop.reason;
  }

  #startAll(activation: ActivationContext): void {
    for (const served of this.#served) this.#start(activation, served);
  }

  #start({ features }: ActivationContext, { worker, queues }: Served): void {
    if (queues.length === 0) return;
    worker.start({
      queues,
      eventIdx: (features & VIRTIO_F_EVENT_IDX) !== 0n,
      indirect: (features & VIRTIO_F_INDIRECT_DESC) !== 0n,
      features: featuresWord(features, 0),
    });
  }

  /** Starts workers again, if they are to run. */
  #restart(start: (activation: ActivationContext) => void): void {
    if (this.#activation === undefined || !this.#serving || this.#held !== undefined) return;
    try {
      start(this.#activation);
    } catch (error) {
      this.#needReset(error instanceof Error ? error.message : String(error));
    }
  }

  #needReset(reason: string): void {
    this.#serving = false;
    this.#activation?.needsReset(reason);
  }
}

function sumOf(
  a: Readonly<Record<string, number>>,
  b: Readonly<Record<string, number>>,
): Record<string, number> {
  const sums: Record<string, number> = { ...a };
  for (const [name, value] of Object.entries(b)) sums[name] = (sums[name] ?? 0) + value;
  return sums;
}
