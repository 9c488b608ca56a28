import { type CreateQueueWorker, QueueWorkerDevice } from './queue-worker.ts';

/** A descriptor chain for the device to serve. */
export interface Chain {
  readonly id: number;
  /** Index of the queue. */
  readonly queue: number;
  /**
   * A copy of the device-readable part, truncated to `readableBytesMax`. The guest cannot change it.
   */
  readonly readable: Uint8Array;
  /** Full length of the device-readable part in bytes, below 4 GiB. */
  readonly readableBytes: number;
  /** Length of the device-writable part in bytes. */
  readonly writableBytes: number;
}

/** A buffer of a chain in guest memory. The guest may change its content at any time. */
export interface ChainBuffer {
  readonly gpa: number;
  readonly lengthBytes: number;
  /** The device writes it. */
  readonly writable: boolean;
}

export interface ChainAnswer {
  readonly id: number;
  /** Data for the chain's writable part, from its start. */
  readonly data?: Uint8Array;
}

/** The chains of a device's queues, exchanged with a worker thread in batches. */
export interface ScriptQueues {
  /** Takes the chains that have arrived. */
  takeChains(): Chain[];
  buffers(id: number): ChainBuffer[];
  finish(answers: readonly ChainAnswer[]): void;
  giveBack(id: number): void;
  want(queue: number, chains: number): void;
}

export interface ScriptQueuesOptions {
  /** Of the worker's thread, at most 15 bytes. */
  readonly threadName: string;
  /** Bytes. */
  readonly readableBytesMax: number;
  /** Called once a batch when chains have arrived. */
  readonly onChains: () => void;
}

/** Creates the queues and a function that creates their worker. */
export type CreateScriptQueues = (options: ScriptQueuesOptions) => {
  readonly queues: ScriptQueues;
  readonly createWorker: CreateQueueWorker;
};

/**
 * A device with little traffic that is implemented in TypeScript, without a data plane in C. Each chain
 * passed to {@link serve} is completed once, immediately or later, by {@link finish} or
 * {@link giveBack}. A reset or a pause waits for that.
 */
export abstract class ScriptQueueDevice extends QueueWorkerDevice {
  readonly #queues: ScriptQueues;
  #stopping = false;
  /** The completions of the current batch. */
  #batch: ChainAnswer[] | undefined;

  constructor(
    createQueues: CreateScriptQueues,
    options: { readonly threadName: string; readonly readableBytesMax: number },
  ) {
    // Callbacks of the queues and the worker; they come after this object has been constructed.
    const calls = { serveArrived: () => {}, start: () => {}, stop: () => {} };
    const { queues, createWorker } = createQueues({
      ...options,
      onChains: () => calls.serveArrived(),
    });
    super((onBroken, number) => {
      const worker = createWorker(onBroken, number);
      return {
        start: (start) => {
          calls.start();
          worker.start(start);
        },
        stop: () => {
          calls.stop();
          return worker.stop();
        },
        statistics: () => worker.statistics(),
        queueStatistics: () => worker.queueStatistics?.() ?? [],
      };
    });
    this.#queues = queues;
    calls.serveArrived = () => this.#serveArrived();
    calls.start = () => {
      this.#stopping = false;
    };
    calls.stop = () => {
      this.#stopping = true;
      this.onStop();
      this.#serveArrived();
    };
  }

  /** Serves one chain. Must not throw, whatever the guest has put into it. */
  protected abstract serve(chain: Chain): void;

  /** Called when the queues stop: complete all chains that wait for an event. */
  protected onStop(): void {}

  /** Returns a chain to the driver. @param data at most `chain.writableBytes` */
  protected finish(chain: Chain, data?: Uint8Array): void {
    const answer = { id: chain.id, ...(data && { data }) };
    if (this.#batch === undefined) this.#queues.finish([answer]);
    else this.#batch.push(answer);
  }

  /**
   * Puts an unused chain back into the queue, to be taken again when a chain is wanted. If a newer
   * chain of the queue was already finished, it is returned to the driver empty.
   */
  protected giveBack(chain: Chain): void {
    this.#queues.giveBack(chain.id);
  }

  /** The chain's buffers in guest memory, for devices that need more than a copy. */
  protected buffers(chain: Chain): readonly ChainBuffer[] {
    return this.#queues.buffers(chain.id);
  }

  /**
   * Limits how many more chains of a queue are taken, for queues whose buffers the device fills when
   * it has data. The default is no limit (Infinity).
   */
  protected want(queue: number, chains: number): void {
    this.#queues.want(queue, chains);
  }

  #serveArrived(): void {
    const chains = this.#queues.takeChains();
    if (this.#stopping) {
      // The newest first, because a queue can only take back its newest chain.
      for (const chain of chains.toReversed()) this.#queues.giveBack(chain.id);
      return;
    }
    const batch: ChainAnswer[] = [];
    this.#batch = batch;
    try {
      for (const chain of chains) this.serve(chain);
    } finally {
      this.#batch = undefined;
      if (batch.length > 0) this.#queues.finish(batch);
    }
  }
}
