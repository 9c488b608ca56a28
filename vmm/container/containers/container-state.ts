/** The version of `state.json`. */
export const STATE_VERSION = 1;

/**
 * `starting`: a supervisor is to run it, or is about to. In all states but `created` and `exited` a
 * supervisor holds the container's lock; if none does, the supervisor was killed.
 */
export type ContainerStatus =
  | 'created'
  | 'starting'
  | 'running'
  | 'paused'
  | 'restarting'
  | 'exited';

export interface HealthResult {
  readonly startMs: number;
  readonly endMs: number;
  readonly exitCode: number;
  readonly output: string;
}

export interface HealthState {
  readonly status: 'starting' | 'healthy' | 'unhealthy';
  readonly failingStreak: number;
  /** The latest, at most five. */
  readonly log: readonly HealthResult[];
}

/** What has become of a container: `DATA/containers/ID/state.json`. */
export interface ContainerState {
  readonly version: typeof STATE_VERSION;
  readonly status: ContainerStatus;
  /** The supervisor's process; 0: none. */
  readonly pid: number;
  /** Of the container's process in its guest; 0: none. */
  readonly guestPid: number;
  /** Times in ms since 1970; 0: never. */
  readonly startedMs: number;
  readonly finishedMs: number;
  readonly exitCode: number;
  /** Why it could not start or what went wrong; empty otherwise. */
  readonly error: string;
  readonly oomKilled: boolean;
  readonly restartCount: number;
  /** By `stop` or `kill`, so that a restart policy does not start it again. */
  readonly stoppedByUser: boolean;
  readonly health?: HealthState | undefined;
  /** What volumes and networks tell of the current run. */
  readonly facts: Readonly<Record<string, unknown>>;
}

export const NEW_STATE: ContainerState = {
  version: STATE_VERSION,
  status: 'created',
  pid: 0,
  guestPid: 0,
  startedMs: 0,
  finishedMs: 0,
  exitCode: 0,
  error: '',
  oomKilled: false,
  restartCount: 0,
  stoppedByUser: false,
  facts: {},
};

/** True while a supervisor has the container, if it is alive. */
export function isActive({ status }: ContainerState): boolean {
  return status !== 'created' && status !== 'exited';
}

/** True while the container's process exists. */
export function isRunning({ status }: ContainerState): boolean {
  return status === 'running' || status === 'paused' || status === 'restarting';
}

/** The status as Docker names it. */
export function dockerStatus({ status }: ContainerState): string {
  return status === 'starting' ? 'created' : status;
}
