import { errorText } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { MachineHandle } from './machine.ts';
import type { MachineEnd } from './machine-end.ts';

export interface SuperviseOptions {
  /** Boots the machine, and again for each restart. */
  readonly boot: () => Promise<MachineHandle>;
  /** Start a new machine when the guest resets. */
  readonly restartsOnReset: boolean;
  readonly logger: Logger;
  /** Stops the running machine for good. */
  readonly signal?: AbortSignal;
  /** Called when a machine is ready to start. */
  readonly onBooted?: (machine: MachineHandle) => void | Promise<void>;
  /** Called when a machine has ended and is about to be closed. */
  readonly onEnded?: (machine: MachineHandle) => void;
}

/** How a supervised machine has ended. */
export interface MachineOutcome {
  readonly end: MachineEnd;
  /** False if closing it failed; the error is in the log. */
  readonly closed: boolean;
}

/**
 * Boots and runs a machine until it ends, restarts it if required, and closes it.
 * Rejects with the error of `boot`.
 */
export async function superviseMachine(options: SuperviseOptions): Promise<MachineOutcome> {
  for (;;) {
    const outcome = await runOnce(options);
    const restarts = outcome.end.reason === 'reset' && options.restartsOnReset && outcome.closed;
    if (!restarts || options.signal?.aborted) return outcome;
    options.logger.debug('the guest resets: starting it again');
  }
}

async function runOnce(options: SuperviseOptions): Promise<MachineOutcome> {
  const { signal } = options;
  const machine = await options.boot();
  const onAbort = () => machine.stop();
  signal?.addEventListener('abort', onAbort);
  let end: MachineEnd;
  let closed: boolean;
  try {
    await options.onBooted?.(machine);
    if (signal?.aborted) machine.stop();
    else machine.start();
    end = await machine.ended;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    closed = await closeMachine(machine, options);
  }
  return { end, closed };
}

/** False when something of it failed, which is said. */
async function closeMachine(
  machine: MachineHandle,
  { logger, onEnded }: SuperviseOptions,
): Promise<boolean> {
  const failures: unknown[] = [];
  try {
    onEnded?.(machine);
  } catch (error) {
    failures.push(error);
  }
  try {
    await machine.close();
  } catch (error) {
    failures.push(...(error instanceof AggregateError ? error.errors : [error]));
  }
  for (const failure of failures) logger.error(errorText(failure));
  return failures.length === 0;
}
