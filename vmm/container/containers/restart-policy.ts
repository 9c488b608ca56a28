import type { RestartPolicy } from './container-config.ts';

/** The end of a run, as a restart policy sees it. */
export interface EndedRun {
  readonly exitCode: number;
  /** Restarts so far. */
  readonly restartCount: number;
  readonly stoppedByUser: boolean;
}

const DELAY_FIRST_MS = 100;
const DELAY_MAX_MS = 60_000;
/** A container that ran this long is restarted without delay again. */
const GOOD_RUN_MS = 10_000;

export function restarts(policy: RestartPolicy, run: EndedRun): boolean {
  if (run.stoppedByUser) return false;
  switch (policy.name) {
    case 'no':
      return false;
    case 'always':
    case 'unless-stopped':
      return true;
    case 'on-failure': {
      const { maximumRetryCount: max } = policy;
      return run.exitCode !== 0 && (max === 0 || run.restartCount < max);
    }
  }
}

/** @param lastMs the delay before the run that has ended; 0: none @returns the next, in ms */
export function restartDelayMs(lastMs: number, ranMs: number): number {
  if (lastMs === 0 || ranMs >= GOOD_RUN_MS) return DELAY_FIRST_MS;
  return Math.min(2 * lastMs, DELAY_MAX_MS);
}
