import type { ImageMetadata } from '../image-metadata.ts';
import { allDone } from '../map/image-reader.ts';
import { type FlushBarrier, flushSteps } from './flush.ts';

/** A flush that waits for the host's disk. */
interface RunningFlush {
  readonly steps: Generator<FlushBarrier, void, void>;
  /** What it waits for. */
  barrier: FlushBarrier;
  /** Someone who could not wait has brought it to its end… */
  overtaken: boolean;
  /** …and this came of it. */
  failure: unknown;
}

/** Drives flushes: one at a time, synchronously or not. */
export class FlushDriver {
  readonly #metadata: ImageMetadata;
  /** Guest data on its way, which the metadata in memory refers to already. */
  readonly #writes = new Set<Promise<void>>();
  #running: RunningFlush | undefined;
  #current: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(metadata: ImageMetadata) {
    this.#metadata = metadata;
  }

  /** A flush is under way. */
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
    // A step that fails ends the generator, which puts back what it had.
    for (const barrier of this.#begin()) syncAll(barrier);
  }

  /** Flushes asked for while one is under way are done together by the one after it. */
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

  /** Brings the flush under way to its end, without waiting for what it waits for. */
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
