import type { Command } from 'commander';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

export function addPause(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .addHelpText('after', '\nExamples:\n  tsvm pause web && cp --sparse=always web.img copy.img')
    .action(async (name: string) => {
      await clientOf(name).call('pauseMachine');
      print(`${name}\n`);
    });
}

export function addResume(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .addHelpText('after', '\nExamples:\n  tsvm resume web')
    .action(async (name: string) => {
      await clientOf(name).call('resumeMachine');
      print(`${name}\n`);
    });
}
