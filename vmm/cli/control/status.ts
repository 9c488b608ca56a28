import { type Command, InvalidArgumentError } from 'commander';
import type { ControlOperations } from '../../api/control/operations.ts';
import type { Result } from '../../api/http/operation.ts';
import { formatSize } from '../../util/size.ts';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

type MachineStatus = Result<ControlOperations['getMachine']>;

export type StatusFormat = 'text' | 'json';

/** `--format`. */
export function parseStatusFormat(text: string): StatusFormat {
  if (text === 'text' || text === 'json') return text;
  throw new InvalidArgumentError('Use text or json.');
}

const HELP = `
Examples:
  tsvm status web
  tsvm status --format json web`;

export function addStatus(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .option('--format <format>', 'text or json', parseStatusFormat, 'text')
    .addHelpText('after', HELP)
    .action(async (name: string, { format }: { readonly format: StatusFormat }) => {
      const status = await clientOf(name).call('getMachine');
      if (format === 'json') print(`${JSON.stringify(status, null, 2)}\n`);
      else for (const [label, value] of statusLines(status)) print(`${label.padEnd(14)}${value}\n`);
    });
}

function statusLines(status: MachineStatus): [string, string | number][] {
  const { console, disks } = status;
  const viewers = `${console.viewers} attached, input: ${console.input}`;
  return [
    ['Name:', status.name],
    ['State:', status.state],
    ['PID:', status.pid],
    ['Version:', `tsvm ${status.version}`],
    ['Started:', status.startedAt],
    ['CPUs:', status.cpus],
    ['Memory:', formatSize(status.memoryBytes)],
    ['Kernel:', status.kernelPath],
    ...disks.map(({ id, path, readOnly }): [string, string] => [
      `${id}:`,
      readOnly ? `${path} (read-only)` : path,
    ]),
    ['Power button:', status.hasPowerButton ? 'yes' : 'no'],
    ['Console:', viewers],
    ...(status.logPath === undefined ? [] : [['Log:', status.logPath] as [string, string]]),
  ];
}
