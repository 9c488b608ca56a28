import { type CreateQueueWorker, QueueWorkerDevice } from './queue-worker.ts';

/** A descriptor chain for the device to serve. */
export interface Chain {
  readonly id: number;
  /** Index of the queue. */
  readonly queue: number;
  /**
   * A copy of what the driver lets the device read, cut at the device's `readableBytesMax`: the guest
   * cannot change it any more.
   */
  readonly readable: Uint8Array;
  /** Bytes that the driver lets the device read in all, below 4 GiB. */
  readonly readableBytes: number;
  /** Bytes that the driver lets the device write. */
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
  /** What the device writes, from the start of the chain's writable part. */
  readonly data?: Uint8Array;
}

/** The chains of a device's queues, as a worker's thread brings and takes them in batches. */
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

/** Makes the queues, and how to make their worker. */
export type CreateScriptQueues = (options: ScriptQueuesOptions) => {
  readonly queues: ScriptQueues;
  readonly createWorker: CreateQueueWorker;
};

/**
 * A device with little traffic, served here instead of by a data plane in C. Each chain that comes
 * to {@link serve} is answered once, then or later, by {@link finish} or {@link giveBack}; a reset or
 * a pause waits for the answers.
 */
export abstract class ScriptQueueDevice extends QueueWorkerDevice {
  readonly #queues: ScriptQueues;
  #stopping = false;
  /** The answers of the batch that is being served. */
  #batch: ChainAnswer[] | undefined;

  constructor(
    createQueues: CreateScriptQueues,
    options: { readonly threadName: string; readonly readableBytesMax: number },
  ) {
    // What the queues and the worker call, once this object is there.
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

  /** Serves one chain. What a guest can put into it must not make this throw. */
  protected abstract serve(chain: Chain): void;

  /** The queues stop: a chain that waits for something that may never come has to be answered. */
  protected onStop(): void {}

  /** Returns a chain to the driver. @param data at most `chain.writableBytes` */
  protected finish(chain: Chain, data?: Uint8Array): void {
    const answer = { id: chain.id, ...(data && { data }) };
    if (this.#batch === undefined) this.#queues.finish([answer]);
    else this.#batch.push(answer);
  }

  /**
   * Leaves a chain with the driver, unused. It comes again when a chain of its queue is wanted; one
   * that is older than a finished chain of its queue goes back to the driver, empty.
   */
  protected giveBack(chain: Chain): void {
    this.#queues.giveBack(chain.id);
  }

  /** The chain's buffers in guest memory, where a copy of their content does not do. */
  protected buffers(chain: Chain): readonly ChainBuffer[] {
    return this.#queues.buffers(chain.id);
  }

  /**
   * How many more chains of a queue there is a use for: of one whose buffers the device fills when it
   * has something to say, none at first. Every other queue has no limit (Infinity).
   */
  protected want(queue: number, chains: number): void {
    this.#queues.want(queue, chains);
  }

  #serveArrived(): void {
    const chains = this.#queues.takeChains();
    if (this.#stopping) {
      // The newest first: each is then the one that the queue can take back.
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
