import { setTimeout as sleep } from 'node:timers/promises';

export interface RetryPolicy {
  /** Tries in all, with no progress between them. */
  readonly tries: number;
  /** The pause after the first failure; it doubles with each. */
  readonly firstPauseMs: number;
  /** The longest pause, also when the registry asks for a longer one. */
  readonly pauseMsMax: number;
}

export const RETRY_POLICY: RetryPolicy = { tries: 6, firstPauseMs: 250, pauseMsMax: 30_000 };

/** A transient failure. */
export class PassingFailure extends Error {
  /** The registry's Retry-After, or undefined. */
  readonly pauseMs: number | undefined;

  constructor(message: string, options: { cause?: unknown; pauseMs?: number | undefined } = {}) {
    super(message, { cause: options.cause });
    this.name = 'PassingFailure';
    this.pauseMs = options.pauseMs;
  }
}

/** Counts failures, and pauses between them. */
export class Retries {
  readonly #policy: RetryPolicy;
  #failures = 0;

  constructor(policy: RetryPolicy) {
    this.#policy = policy;
  }

  /** Call on progress: resets the count of failures. */
  reset(): void {
    this.#failures = 0;
  }

  /** Returns after a pause when there is to be another try; throws `error` when not. */
  async failed(error: unknown, signal: AbortSignal | undefined): Promise<void> {
    this.#failures++;
    if (!(error instanceof PassingFailure) || this.#failures >= this.#policy.tries) throw error;
    const { firstPauseMs, pauseMsMax } = this.#policy;
    const growing = firstPauseMs * 2 ** (this.#failures - 1) * (0.75 + Math.random() / 2);
    const pauseMs = Math.min(error.pauseMs ?? growing, pauseMsMax);
    await sleep(pauseMs, undefined, { ...(signal && { signal }) });
  }
}
