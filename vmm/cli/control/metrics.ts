import { type Command, InvalidArgumentError } from 'commander';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

type Format = 'json' | 'prometheus';

function parseFormat(text: string): Format {
  if (text === 'json' || text === 'prometheus') return text;
  throw new InvalidArgumentError('Use json or prometheus.');
}

const HELP = `
Examples:
  tsvm metrics web | jq .devices.disk0.counters
  tsvm metrics --format prometheus web    with a description of each counter`;

export function addMetrics(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .option('--format <format>', 'json or prometheus', parseFormat, 'json')
    .addHelpText('after', HELP)
    .action(async (name: string, { format }: { readonly format: Format }) => {
      const client = clientOf(name);
      if (format === 'prometheus') print(await client.call('getPrometheusMetrics'));
      else print(`${JSON.stringify(await client.call('getMetrics'), null, 2)}\n`);
    });
}
