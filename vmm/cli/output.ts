import type { OutputDescriptor } from './output-descriptor.ts';

/** Bounds of the retry interval while the descriptor would block. */
const RETRY_MIN_MS = 1;
const RETRY_MAX_MS = 50;
/**
 * After a failed write, bytes are dropped for this time before the next attempt: space may be freed
 * on a full disk, a named pipe may get another reader.
 */
const FAILURE_PAUSE_MS = 1000;
/** Time without progress before {@link OutputEvents.onStall} is called. */
const STALL_TOLD_MS = 700;

export interface OutputEvents {
  /** Writing failed and bytes are being lost. Called once per series of failures. */
  onLost?(error: unknown): void;
  /** Writing works again. */
  onRecovered?(lostBytes: number): void;
  /** The reader has not read for some time. Called at most once. */
  onStall?(): void;
}

/**
 * Output to a descriptor that never blocks, throws or rejects. Bytes that would block are buffered;
 * bytes that cannot be written are dropped and reported.
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
  /** All further output is discarded. */
  #abandoned = false;
  #onRoom: (() => void)[] = [];

  constructor(descriptor: OutputDescriptor, events: OutputEvents = {}) {
    this.#descriptor = descriptor;
    this.#events = events;
  }

  /** Number of buffered bytes. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Writes or buffers all of `bytes`. @returns false when bytes are buffered */
  write(bytes: Uint8Array): boolean {
    if (this.#abandoned || bytes.byteLength === 0) return true;
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.byteLength;
    if (this.#timer === undefined) this.#send();
    return this.#waitingBytes === 0;
  }

  /** Resolves when the buffer is empty. */
  drained(): Promise<void> {
    if (this.#waitingBytes === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onRoom.push(resolve);
    });
  }

  /** Discards buffered and further bytes. */
  abandon(): void {
    this.#abandoned = true;
    this.#drop();
    this.#settle();
  }

  /** Discards the buffer and closes the descriptor. */
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

  /** @returns false when the rest would block */
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

  /** True for {@link FAILURE_PAUSE_MS} after a failed write. */
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
