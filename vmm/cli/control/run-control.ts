import { Command } from 'commander';
import { TsvmError, type TsvmErrorCode } from '../../errors.ts';
import { adoptCommand } from '../adopt-command.ts';
import { CONTROL_SUMMARIES, type ControlCommand } from '../programs.ts';
import { printMessage } from '../standard-streams.ts';
import { addBalloon } from './balloon.ts';
import { addConsole } from './console.ts';
import { addDisk, addNet } from './hotplug.ts';
import { addKill } from './kill.ts';
import { addLimit } from './limit.ts';
import { addLink } from './link.ts';
import { addList } from './list.ts';
import { addMemory } from './memory.ts';
import { addMetrics } from './metrics.ts';
import { addPause, addResume } from './pause.ts';
import { addStatus } from './status.ts';
import { addStop } from './stop.ts';
import { addSwapDisk } from './swap-disk.ts';

/** The machine is not there, or does not do what it is asked. */
const EXIT_REFUSED = 1;
const REFUSALS: readonly TsvmErrorCode[] = [
  'machine-not-found',
  'machine-unreachable',
  'wrong-state',
];

const EXIT_CODES = `
Exit codes:
  0    done
  1    no such machine is running, or it cannot do that in its state
  2    invalid command line
  125  tsvm itself failed`;

/** Adds a command's arguments, options, examples and action. The action sets `process.exitCode`. */
type AddCommand = (command: Command) => void;

const COMMANDS: Readonly<Record<ControlCommand, AddCommand>> = {
  balloon: addBalloon,
  console: addConsole,
  disk: addDisk,
  kill: addKill,
  limit: addLimit,
  link: addLink,
  list: addList,
  memory: addMemory,
  metrics: addMetrics,
  net: addNet,
  pause: addPause,
  resume: addResume,
  status: addStatus,
  stop: addStop,
  'swap-disk': addSwapDisk,
};

/** Runs `tsvm ARGS...`. @returns the exit code */
export async function runControl(args: readonly string[]): Promise<number> {
  const program = new Command('tsvm').showHelpAfterError('(see tsvm --help)');
  for (const [name, add] of Object.entries(COMMANDS)) {
    const summary = CONTROL_SUMMARIES[name as ControlCommand];
    const command = program.command(name).description(`${summary}.`).allowExcessArguments(false);
    add(command);
    command.addHelpText('after', EXIT_CODES);
  }
  try {
    await adoptCommand(program).parseAsync(args, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (!(error instanceof TsvmError) || !REFUSALS.includes(error.code)) throw error;
    printMessage(`tsvm: ${error.message}\n`);
    return EXIT_REFUSED;
  }
}
