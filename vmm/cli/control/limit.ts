import { type Command, InvalidArgumentError } from 'commander';
import { type GivenLimits, limitSettings } from '../limit-settings.ts';
import { print } from '../standard-streams.ts';
import { clientOf, MACHINE_ARGUMENT } from './machine-argument.ts';

/** `disk` and `net`: the operation that sets the limits, and how it calls requests or frames. */
const KINDS = {
  disk: { operation: 'setDisk', operations: 'iops' },
  net: { operation: 'setNetwork', operations: 'pps' },
} as const;

/** `disk0` or `net0`. */
function parseDevice(id: string): { readonly id: string; readonly kind: keyof typeof KINDS } {
  const kind = /^(disk|net)\d+$/.exec(id)?.[1];
  if (kind === 'disk' || kind === 'net') return { id, kind };
  throw new InvalidArgumentError('Use disk0, disk1, … or net0, net1, …; see "tsvm status".');
}

function parseLimits(operations: 'iops' | 'pps', settings: readonly string[]): GivenLimits {
  if (settings.length === 1 && settings[0] === 'none') return {};
  const known = limitSettings(operations);
  let limits: GivenLimits = {};
  for (const setting of settings) {
    const [, name = '', value = ''] = /^(\w+)=(.*)$/s.exec(setting) ?? [];
    const parse = Object.hasOwn(known, name) ? known[name] : undefined;
    if (parse === undefined) {
      const names = Object.keys(known).map((one) => `${one}=`);
      throw new InvalidArgumentError(
        `Unknown limit '${setting}'. The limits are ${names.join(', ')}, or none.`,
      );
    }
    limits = { ...limits, ...parse(value) };
  }
  return limits;
}

/** Ends the command, as commander does itself, for settings that are wrong. */
function limitsOf(
  command: Command,
  operations: 'iops' | 'pps',
  settings: readonly string[],
): GivenLimits {
  try {
    return parseLimits(operations, settings);
  } catch (error) {
    if (error instanceof InvalidArgumentError) command.error(`error: ${error.message}`);
    throw error;
  }
}

const HELP = `
The limits replace the present ones: what is left out is not limited. They last until the machine ends.
  bps=SIZE     bytes per second
  iops=N       requests per second of a disk
  pps=N        frames per second of a network, which is limited in each direction
  bps_max=, iops_max=, pps_max=    what may pass at once; default: a tenth of a second's

Examples:
  tsvm limit web disk0 bps=10M iops=500
  tsvm limit web net0 bps=1M bps_max=4M
  tsvm limit web disk0 none`;

export function addLimit(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .argument('<device>', 'disk0, net0, …, as "tsvm status" shows it', parseDevice)
    .argument('<limits...>', 'such as bps=10M and iops=500, or none')
    .addHelpText('after', HELP)
    .action(
      async (name: string, device: ReturnType<typeof parseDevice>, settings: readonly string[]) => {
        const { operation, operations } = KINDS[device.kind];
        const limits = limitsOf(command, operations, settings);
        await clientOf(name).call(operation, { body: { id: device.id, limits } });
        print(`${device.id}\n`);
      },
    );
}
