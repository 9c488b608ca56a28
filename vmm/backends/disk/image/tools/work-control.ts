import type { Pace } from '../../../../util/pace.ts';

/** Progress and control of long work. */
export interface WorkControl {
  /** @param done completed bytes of `total`; never decreases */
  readonly onProgress?: (done: number, total: number) => void;
  /** When aborted, the work ends with the signal's reason at the next opportunity. */
  readonly signal?: AbortSignal;
  /** Limits the rate of writes. */
  readonly pace?: Pace | undefined;
}
