import type { OutputDescriptor } from './output-descriptor.ts';

/** How long the next try is waited for while there is no room: at first, and at most. */
const RETRY_MIN_MS = 1;
const RETRY_MAX_MS = 50;
/**
 * After a failure bytes are dropped until this is over, and then it is tried again: space is made on a
 * full disk, a named pipe gets another reader.
 */
const FAILURE_PAUSE_MS = 1000;
/** A reader may take so long until it is said that it is waited for. */
const STALL_TOLD_MS = 700;

export interface OutputEvents {
  /** Writing has failed, and bytes are lost. Called once for each row of failures. */
  onLost?(error: unknown): void;
  /** It works again. */
  onRecovered?(lostBytes: number): void;
  /** Nothing was taken for some time. Called once. */
  onStall?(): void;
}

/**
 * Output to a descriptor that never blocks, throws or rejects, whatever becomes of the file. What
 * there is no room for waits here; what cannot be written is dropped, and said to be.
 */
export class Output {
  readonly #descriptor: OutputDescriptor;
  readonly #events: OutputEvents;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MIN_MS;
  #stalledSinceMs: number | undefined;
  #stallTold = false;
  /** Bytes dropped since writing failed. */
  #lostBytes = 0;
  #failedAtMs: number | undefined;
  /** Nothing is written any more. */
  #abandoned = false;
  #onRoom: (() => void)[] = [];

  constructor(descriptor: OutputDescriptor, events: OutputEvents = {}) {
    this.#descriptor = descriptor;
    this.#events = events;
  }

  /** Bytes that wait for room. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Takes all of `bytes`, and keeps what there is no room for. False: some of it waits. */
  write(bytes: Uint8Array): boolean {
    if (this.#abandoned || bytes.byteLength === 0) return true;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.byteLength;
    if (this.#timer === undefined) this.#send();
    return this.#waitingBytes === 0;
  }

  /** Resolves when nothing waits. */
  drained(): Promise<void> {
    if (this.#waitingBytes === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onRoom.push(resolve);
    });
  }

  /** Drops what waits and what comes. */
  abandon(): void {
    this.#abandoned = true;
    this.#drop();
    this.#settle();
  }

  /** Gives up what waits. */
  close(): void {
    this.abandon();
    this.#descriptor.close();
  }

  #send(): void {
    try {
      if (this.#sendAll()) this.#settle();
      else this.#retryLater();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** False: there is no room for the rest. */
  #sendAll(): boolean {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#pausing()) {
        this.#lose();
        return true;
      }
      const count = this.#descriptor.write(first);
      if (count === 0) return false;
      this.#take(first, count);
    }
    return true;
  }

  #take(first: Uint8Array, count: number): void {
    this.#waitingBytes -= count;
    if (count === first.byteLength) this.#waiting.shift();
    else this.#waiting[0] = first.subarray(count);
    this.#retryMs = RETRY_MIN_MS;
    this.#stalledSinceMs = undefined;
    if (this.#failedAtMs === undefined) return;
    this.#failedAtMs = undefined;
    const lostBytes = this.#lostBytes;
    this.#lostBytes = 0;
    this.#events.onRecovered?.(lostBytes);
  }

  #retryLater(): void {
    const nowMs = performance.now();
    this.#stalledSinceMs ??= nowMs;
    if (!this.#stallTold && nowMs - this.#stalledSinceMs >= STALL_TOLD_MS) {
      this.#stallTold = true;
      this.#events.onStall?.();
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#send();
    }, this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  /** The last try has failed, and it is too early for another. */
  #pausing(): boolean {
    return (
      this.#failedAtMs !== undefined && performance.now() - this.#failedAtMs < FAILURE_PAUSE_MS
    );
  }

  #fail(error: unknown): void {
    const first = this.#failedAtMs === undefined;
    this.#failedAtMs = performance.now();
    this.#lose();
    this.#settle();
    if (first) this.#events.onLost?.(error);
  }

  #lose(): void {
    this.#lostBytes += this.#waitingBytes;
    this.#drop();
  }

  #drop(): void {
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }

  #settle(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const resolve of this.#onRoom.splice(0)) resolve();
  }
}
