import type { Command } from 'commander';
import type { ControlOperations } from '../../api/control/operations.ts';
import type { Result } from '../../api/http/operation.ts';
import { formatSize } from '../../util/size.ts';
import { parseMemory } from '../memory-size.ts';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';
import { parseStatusFormat, type StatusFormat } from './status.ts';

type Memory = Result<ControlOperations['getMemory']>;

const HELP = `
SIZE is all of the memory that the guest is to have: from what the machine booted with to its maximum, in
steps of 2 MiB (the tuned kernel takes and gives 4 MiB at once). The machine must have been booted with
--memory SIZE,max=SIZE, and the guest must have the driver virtio_mem. It takes its time, and it can only
give back memory that it can free: "Now" shows how far it is. What it gives back is the host's again at once.

Examples:
  tsvm memory web            shows how much memory the guest has
  tsvm memory web 2G         gives it 2 GiB
  tsvm memory web min        takes back all that it did not boot with
  tsvm memory web max        gives it all that it may have`;

export function addMemory(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .argument('[size]', 'memory of the guest, e.g. 2G, or min or max', (text) =>
      text === 'min' || text === 'max' ? text : parseMemory(text),
    )
    .option('--format <format>', 'text or json', parseStatusFormat, 'text')
    .addHelpText('after', HELP)
    .action(
      async (
        name: string,
        size: number | 'min' | 'max' | undefined,
        options: { readonly format: StatusFormat },
      ) => {
        const client = clientOf(name);
        let memory = await client.call('getMemory');
        if (size !== undefined) {
          const named = { min: memory.minBytes, max: memory.maxBytes };
          const targetBytes = typeof size === 'number' ? size : named[size];
          memory = await client.call('setMemory', { body: { targetBytes } });
        }
        if (options.format === 'json') print(`${JSON.stringify(memory, null, 2)}\n`);
        else print(memoryText(memory));
      },
    );
}

function memoryText({ minBytes, maxBytes, targetBytes, actualBytes }: Memory): string {
  const lines: [string, number][] = [
    ['Now:', actualBytes],
    ['Wanted:', targetBytes],
    ['Least:', minBytes],
    ['Most:', maxBytes],
  ];
  return lines.map(([label, bytes]) => `${label.padEnd(10)}${formatSize(bytes)}\n`).join('');
}
