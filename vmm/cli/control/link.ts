import { type Command, InvalidArgumentError } from 'commander';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

function parseUp(text: string): boolean {
  if (text === 'up' || text === 'down') return text === 'up';
  throw new InvalidArgumentError('Use up or down.');
}

const HELP = `
The guest sees that its link is up or down. While it is down, all frames are dropped.

Examples:
  tsvm link web net0 down
  tsvm link web net0 up`;

export function addLink(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .argument('<net>', 'net0, net1, …, as "tsvm status" shows it')
    .argument('<up|down>', 'whether the cable is plugged in', parseUp)
    .addHelpText('after', HELP)
    .action(async (name: string, id: string, linkUp: boolean) => {
      await clientOf(name).call('setNetwork', { body: { id, linkUp } });
      print(`${id}\n`);
    });
}
