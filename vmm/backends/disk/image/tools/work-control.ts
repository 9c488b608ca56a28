import type { Pace } from '../../../../util/pace.ts';

/** What a long piece of work tells, and what it is told. */
export interface WorkControl {
  /** @param done bytes of `total` that have been seen to; never goes back */
  readonly onProgress?: (done: number, total: number) => void;
  /** Aborted: the work ends with this signal's reason at the next opportunity. */
  readonly signal?: AbortSignal;
  /** Bytes that are written are held to this rate. */
  readonly pace?: Pace | undefined;
}
