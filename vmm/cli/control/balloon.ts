import type { Command } from 'commander';
import type { ControlOperations } from '../../api/control/operations.ts';
import type { Result } from '../../api/http/operation.ts';
import { formatSize } from '../../util/size.ts';
import { parseMemory } from '../memory-size.ts';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';
import { parseStatusFormat, type StatusFormat } from './status.ts';

type Balloon = Result<ControlOperations['getBalloon']>;

const HELP = `
SIZE is what the guest has left; the rest goes back to the host. A guest that would run out of memory
takes some back. The machine must have been booted with --balloon. It then also gives free memory
back by itself.

Examples:
  tsvm balloon web            shows the balloon, and what the guest tells of its memory
  tsvm balloon web 128M       leaves 128 MiB
  tsvm balloon web max        gives all of its memory back to the guest`;

export function addBalloon(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .argument('[size]', 'memory of the guest, e.g. 512M, or max', (text) =>
      text === 'max' ? Number.POSITIVE_INFINITY : parseMemory(text),
    )
    .option('--format <format>', 'text or json', parseStatusFormat, 'text')
    .addHelpText('after', HELP)
    .action(
      async (
        name: string,
        size: number | undefined,
        options: { readonly format: StatusFormat },
      ) => {
        const client = clientOf(name);
        let balloon = await client.call('getBalloon');
        if (size !== undefined) {
          const targetBytes = Math.max(0, balloon.memoryBytes - size);
          balloon = await client.call('setBalloon', { body: { targetBytes } });
        }
        if (options.format === 'json') print(`${JSON.stringify(balloon, null, 2)}\n`);
        else print(balloonText(balloon));
      },
    );
}

function balloonText({ memoryBytes, targetBytes, actualBytes, statistics }: Balloon): string {
  const lines: [string, string][] = [
    ['Memory:', formatSize(memoryBytes)],
    ['Wanted:', formatSize(memoryBytes - targetBytes)],
    ['Left:', formatSize(memoryBytes - actualBytes)],
    ...Object.entries(statistics).map(([name, value]): [string, string] => [
      `${name}:`,
      name.endsWith('Bytes') ? formatSize(value) : String(value),
    ]),
  ];
  return lines.map(([label, value]) => `${label.padEnd(25)}${value}\n`).join('');
}
