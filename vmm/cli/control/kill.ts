import type { Command } from 'commander';
import { findMachine } from '../../api/machines/running-machines.ts';
import { print } from '../standard-streams.ts';
import { killMachine } from './ending-machine.ts';
import { MACHINE_ARGUMENT } from './machine-argument.ts';

export function addKill(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .addHelpText('after', '\nExamples:\n  tsvm kill web')
    .action(async (name: string) => {
      await killMachine(findMachine(name));
      print(`${name}\n`);
    });
}
