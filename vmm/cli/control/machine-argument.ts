import { ControlClient } from '../../api/control/client.ts';
import { findMachine } from '../../api/machines/running-machines.ts';

export const MACHINE_ARGUMENT = ['<machine>', 'its name, as "tsvm list" shows it'] as const;

/** @throws TsvmError `machine-not-found` */
export function clientOf(name: string): ControlClient {
  return new ControlClient(findMachine(name));
}
