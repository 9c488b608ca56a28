import { setTimeout as sleep } from 'node:timers/promises';
import { ControlClient } from '../../api/control/client.ts';
import { killHolder } from '../../api/machines/kill-holder.ts';
import { isMachineAlive } from '../../api/machines/machine-folder.ts';
import { type RunningMachine, runningMachines } from '../../api/machines/running-machines.ts';
import { TsvmError } from '../../errors.ts';

const POLL_MS = 20;
/** A process that was told to end has two seconds, see README.md; a busy host may add some. */
const END_MS = 10_000;
const ANSWER_MS = 3_000;

/** Waits until a machine's process has ended. @returns false if it has not after `timeoutMs` */
export async function whenGone({ folder }: RunningMachine, timeoutMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (isMachineAlive(folder)) {
    if (performance.now() >= endMs) return false;
    await sleep(POLL_MS);
  }
  // Removes what it may have left.
  runningMachines();
  return true;
}

/**
 * Ends a machine by its API, or its process if that does not answer.
 * @throws TsvmError `machine-unreachable` if it does not end
 */
export async function killMachine(machine: RunningMachine): Promise<void> {
  try {
    await new ControlClient(machine, ANSWER_MS).call('killMachine');
    if (await whenGone(machine, END_MS)) return;
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
  }
  killHolder(machine.folder);
  if (await whenGone(machine, END_MS)) return;
  throw new TsvmError(
    'machine-unreachable',
    `the machine ${machine.name} does not end: its process is ${machine.record?.pid ?? 'unknown'}`,
  );
}
