import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { ImageDiskConfig } from '../../machine/config.ts';
import type { NetConfig } from '../../machine/net-config.ts';
import { asJson } from '../../util/json.ts';
import { parseDisk } from '../boot-options.ts';
import { parseNet } from '../net-option.ts';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

/** What is written to a disk must reach its file before it is removed, whatever the guest takes. */
const ANSWER_MS = 600_000;
const TIMEOUT_DEFAULT_S = 10;
const TIMEOUT_MAX_S = 3600;

interface RemovalFlags {
  readonly timeout: number;
  readonly force?: boolean;
}

function parseTimeout(text: string): number {
  const seconds = Number(text);
  if (!/^\d+$/.test(text) || seconds > TIMEOUT_MAX_S) {
    throw new InvalidArgumentError(`Use seconds, from 0 to ${TIMEOUT_MAX_S}.`);
  }
  return seconds;
}

/** `--net`, but `none`. */
function parseNewNet(text: string): NetConfig {
  const net = parseNet(text);
  if (net === undefined) throw new InvalidArgumentError('Use user or tap=NAME.');
  return net;
}

const REMOVAL_HELP = `
The guest is asked to let go of it; its driver does, whether it is in use or not. If that takes longer than
the time-out, the command fails with exit code 1, and the device is removed once the guest lets go of it.
With --force it is then taken away, as by pulling it out.`;

const NEEDS_PCI = `
The machine must have been booted with --transport pci and ACPI.
`;

const DISK_HELP = `${NEEDS_PCI}
Examples:
  tsvm disk add web data.qcow2,iops=500     # prints disk1; /dev/vdb in the guest
  tsvm disk remove web disk1`;

const ADD_DISK_HELP = `
Prints the disk's id. The guest finds the disk on its own; its serial number is its id, so that it is
/dev/disk/by-id/virtio-ID by udev. The flags are those of --disk of "tsvm boot". A machine in its
sandbox can open the files that "--sandbox on,files=PATH" of its boot names.
${NEEDS_PCI}
Examples:
  tsvm disk add web data.qcow2
  tsvm disk add web /dev/vg/data,format=raw,bps=50M`;

const REMOVE_DISK_HELP = `
Unmount the disk in the guest first. What the guest has written to it is durable when the command ends.
${REMOVAL_HELP}

Examples:
  tsvm disk remove web disk1
  tsvm disk remove --timeout 30 --force web disk1`;

const NET_HELP = `${NEEDS_PCI}
Examples:
  tsvm net add web user,hostfwd=8080:80     # prints net0
  tsvm net remove web net0`;

const ADD_NET_HELP = `
Prints the network's id. The settings are those of --net of "tsvm boot". A machine in its sandbox can
neither start passt nor open tap devices: boot it with --sandbox off.
${NEEDS_PCI}
Examples:
  tsvm net add web user,hostfwd=8080:80
  tsvm net add web tap=tap0,mac=52:54:00:12:34:56`;

const REMOVE_NET_HELP = `
${REMOVAL_HELP}

Examples:
  tsvm net remove web net0
  tsvm net remove --force web net0`;

export function addDisk(command: Command): void {
  command.addHelpText('after', DISK_HELP);
  command
    .command('add')
    .description('Add a disk to a running machine.')
    .argument(...MACHINE_ARGUMENT)
    .argument('<file[,flags]>', 'image file or block device', parseDisk)
    .allowExcessArguments(false)
    .addHelpText('after', ADD_DISK_HELP)
    .action(async (name: string, disk: ImageDiskConfig) => {
      const body = asJson({ ...disk, path: resolve(disk.path) });
      const { id } = await clientOf(name, ANSWER_MS).call('addDisk', { body });
      print(`${id}\n`);
    });
  addRemove(command, 'disk', 'removeDisk', REMOVE_DISK_HELP);
}

export function addNet(command: Command): void {
  command.addHelpText('after', NET_HELP);
  command
    .command('add')
    .description('Add a network to a running machine.')
    .argument(...MACHINE_ARGUMENT)
    .argument('<net>', 'user[,hostfwd=…] or tap=NAME, with settings after commas', parseNewNet)
    .allowExcessArguments(false)
    .addHelpText('after', ADD_NET_HELP)
    .action(async (name: string, net: NetConfig) => {
      const body = asJson(net);
      const { id } = await clientOf(name, ANSWER_MS).call('addNetwork', { body });
      print(`${id}\n`);
    });
  addRemove(command, 'net', 'removeNetwork', REMOVE_NET_HELP);
}

function addRemove(
  command: Command,
  kind: 'disk' | 'net',
  operation: 'removeDisk' | 'removeNetwork',
  help: string,
): void {
  command
    .command('remove')
    .description(`Remove a ${kind === 'disk' ? kind : 'network'} from a running machine.`)
    .argument(...MACHINE_ARGUMENT)
    .argument(`<${kind}>`, `${kind}0, ${kind}1, …, as "tsvm status" shows it`)
    .option(
      '--timeout <seconds>',
      'how long the guest may take to let go of it',
      parseTimeout,
      TIMEOUT_DEFAULT_S,
    )
    .option('--force', 'take it away after that time, as by pulling it out')
    .allowExcessArguments(false)
    .addHelpText('after', help)
    .action(async (name: string, id: string, { timeout, force = false }: RemovalFlags) => {
      const body = { id, timeoutMs: timeout * 1000, force };
      await clientOf(name, ANSWER_MS + body.timeoutMs).call(operation, { body });
      print(`${id}\n`);
    });
}
