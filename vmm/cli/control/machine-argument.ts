import { ControlClient } from '../../api/control/client.ts';
import { findMachine } from '../../api/machines/running-machines.ts';

export const MACHINE_ARGUMENT = ['<machine>', 'its name, as "tsvm list" shows it'] as const;

/**
 * @param answerMs how long to wait for an answer
 * @throws TsvmError `machine-not-found`
 */
export function clientOf(name: string, answerMs?: number): ControlClient {
  return new ControlClient(findMachine(name), answerMs);
}
