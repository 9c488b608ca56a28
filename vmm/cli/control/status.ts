import { type Command, InvalidArgumentError } from 'commander';
import type { ControlOperations } from '../../api/control/operations.ts';
import type { Result } from '../../api/http/operation.ts';
import { formatSize } from '../../util/size.ts';
import { limitText } from '../limit-settings.ts';
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

function memoryText({ memoryBytes, memoryMaxBytes }: MachineStatus): string {
  const most = memoryMaxBytes === undefined ? '' : ` of at most ${formatSize(memoryMaxBytes)}`;
  return formatSize(memoryBytes) + most;
}

function sandboxText({ reach, reason }: MachineStatus['sandbox']): string {
  return reason === undefined ? reach : `${reach} (${reason})`;
}

function statusLines(status: MachineStatus): [string, string | number][] {
  const { console, pmems = [], nets = [], shares = [], ports = [], vsock } = status;
  const viewers = `${console.viewers} attached, input: ${console.input}`;
  return [
    ['Name:', status.name],
    ['State:', status.state],
    ['PID:', status.pid],
    ['Version:', `tsvm ${status.version}`],
    ['Started:', status.startedAt],
    ['CPUs:', status.cpus],
    ['Memory:', memoryText(status)],
    ['Kernel:', status.kernelPath ?? 'on the first disk'],
    ...status.disks.map((disk): [string, string] => [`${disk.id}:`, diskText(disk)]),
    ...pmems.map((pmem, index): [string, string] => [`pmem${index}:`, diskText(pmem)]),
    ...nets.map((net): [string, string] => [`${net.id}:`, netText(net)]),
    ...shares.map((share): [string, string] => [
      'Share:',
      `${share.tag} is ${share.path}${share.readOnly ? ' (read-only)' : ''}`,
    ]),
    ...ports.map(({ name, socketPath }): [string, string] => ['Port:', `${name} is ${socketPath}`]),
    ...(vsock === undefined ? [] : [['Vsock:', vsockText(vsock)] as [string, string]]),
    ...(status.hasBalloon ? [['Balloon:', 'yes'] as [string, string]] : []),
    ['Power button:', status.hasPowerButton ? 'yes' : 'no'],
    ['Console:', viewers],
    ['Sandbox:', sandboxText(status.sandbox)],
    ...(status.logPath === undefined ? [] : [['Log:', status.logPath] as [string, string]]),
  ];
}

function diskText({
  path,
  readOnly,
  limits = {},
}: Omit<MachineStatus['disks'][number], 'id'>): string {
  return joined([path, readOnly ? '(read-only)' : '', limitText('iops', limits)]);
}

function netText(net: NonNullable<MachineStatus['nets']>[number]): string {
  const { kind, tapName, mac, linkUp, forwards, limits = {} } = net;
  return joined([
    kind === 'tap' ? `tap ${tapName}` : kind,
    mac,
    linkUp ? '' : '(link down)',
    ...forwards.map(forwardText),
    limitText('pps', limits),
  ]);
}

function forwardText(
  forward: NonNullable<MachineStatus['nets']>[number]['forwards'][number],
): string {
  const { protocol, address, hostPort, guestPort } = forward;
  const host = address.includes(':') ? `[${address}]` : address;
  return `${protocol}:${host}:${hostPort}:${guestPort}`;
}

function vsockText({ guestCid, socketPath }: NonNullable<MachineStatus['vsock']>): string {
  return joined([`CID ${guestCid}`, socketPath ?? '']);
}

function joined(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}
