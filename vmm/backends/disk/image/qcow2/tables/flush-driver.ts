import type { ImageMetadata } from '../image-metadata.ts';
import { allDone } from '../map/image-reader.ts';
import { type FlushBarrier, flushSteps } from './flush.ts';

/** A flush that waits for a sync. */
interface RunningFlush {
  readonly steps: Generator<FlushBarrier, void, void>;
  /** The files being synced. */
  barrier: FlushBarrier;
  /** A synchronous flush has completed it… */
  overtaken: boolean;
  /** …and this was the failure. */
  failure: unknown;
}

/** Runs flushes, synchronously or not, one at a time. */
export class FlushDriver {
  readonly #metadata: ImageMetadata;
  /** Guest data being written, which metadata in memory refers to already. */
  readonly #writes = new Set<Promise<void>>();
  #running: RunningFlush | undefined;
  #current: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(metadata: ImageMetadata) {
    this.#metadata = metadata;
  }

  /** A flush is in progress. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Flushes that begin before `write` ends wait for it. */
  async track(write: Promise<void>): Promise<void> {
    this.#writes.add(write);
    try {
      await write;
    } finally {
      this.#writes.delete(write);
    }
  }

  #begin(): Generator<FlushBarrier, void, void> {
    this.#metadata.assertIntact();
    return flushSteps(this.#metadata);
  }

  sync(): void {
    this.#overtake();
    // A failing step ends the generator, which restores what it had taken.
    for (const barrier of this.#begin()) syncAll(barrier);
  }

  /** Flushes requested during a flush are combined into the next one. */
  async(): Promise<void> {
    if (this.#running === undefined && this.#next === undefined) {
      this.#current = this.#run();
      return this.#current;
    }
    this.#next ??= this.#current.then(ignore, ignore).then(() => {
      this.#next = undefined;
      this.#current = this.#run();
      return this.#current;
    });
    return this.#next;
  }

  async #run(): Promise<void> {
    this.#overtake();
    const running: RunningFlush = {
      steps: this.#begin(),
      barrier: [],
      overtaken: false,
      failure: undefined,
    };
    this.#running = running;
    try {
      await Promise.allSettled([...this.#writes]);
      while (!running.overtaken) {
        const step = running.steps.next();
        if (step.done === true) break;
        running.barrier = step.value;
        await allDone(step.value.map((file) => file.datasync()));
      }
      if (running.failure !== undefined) throw running.failure;
    } finally {
      running.steps.return();
      if (this.#running === running) this.#running = undefined;
    }
  }

  /** Completes the flush in progress synchronously. */
  #overtake(): void {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    running.overtaken = true;
    try {
      syncAll(running.barrier);
      for (const barrier of running.steps) syncAll(barrier);
    } catch (error) {
      running.failure = error;
      throw error;
    } finally {
      running.steps.return();
    }
  }
}

function syncAll(barrier: FlushBarrier): void {
  for (const file of barrier) file.datasyncSync();
}

function ignore(): void {}
