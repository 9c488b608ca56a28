import { type Command, InvalidArgumentError } from 'commander';
import { ControlClient } from '../../api/control/client.ts';
import { findMachine } from '../../api/machines/running-machines.ts';
import { TsvmError } from '../../errors.ts';
import { print } from '../standard-streams.ts';
import { killMachine, whenGone } from './ending-machine.ts';
import { MACHINE_ARGUMENT } from './machine-argument.ts';

/** Time for a guest to shut down. */
const TIMEOUT_S = 30;
const TIMEOUT_MAX_S = 86_400;

interface StopOptions {
  readonly force?: boolean;
  readonly timeout: number;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (!/^\d+$/.test(text) || seconds > TIMEOUT_MAX_S) {
    throw new InvalidArgumentError(`Use a number of seconds from 0 to ${TIMEOUT_MAX_S}.`);
  }
  return seconds;
}

const HELP = `
Presses the ACPI power button and waits until the machine has ended.

Examples:
  tsvm stop web
  tsvm stop --force --timeout 60 web     kills it if it still runs after a minute`;

export function addStop(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .option('-f, --force', 'kill the machine if it does not end in time, or cannot be asked')
    .option('-t, --timeout <seconds>', 'how long to wait', parseSeconds, TIMEOUT_S)
    .addHelpText('after', HELP)
    .action(async (name: string, options: StopOptions) => {
      await stopMachine(name, options);
      print(`${name}\n`);
    });
}

async function stopMachine(name: string, { force, timeout }: StopOptions): Promise<void> {
  const machine = findMachine(name);
  try {
    await new ControlClient(machine).call('pressPowerButton');
    if (await whenGone(machine, timeout * 1000)) return;
  } catch (error) {
    // The guest may have ended just now.
    if (await whenGone(machine, 0)) return;
    if (!force) throw error;
  }
  if (!force) {
    throw new TsvmError(
      'wrong-state',
      `the guest of ${name} has not shut down in ${timeout} s: wait longer (--timeout), or kill it (--force)`,
    );
  }
  await killMachine(machine);
}
