import { constants } from 'node:os';
import { type Command, InvalidArgumentError } from 'commander';
import { ControlClient } from '../../api/control/client.ts';
import { findMachine } from '../../api/machines/running-machines.ts';
import { createLogger } from '../../observability/logger.ts';
import { endConnection } from '../end-connection.ts';
import { endingSignals } from '../ending-signals.ts';
import { type EscapeKey, endKey } from '../escape-keys.ts';
import { exitCodeOfSignal } from '../exit-codes.ts';
import { type HostConsole, openHostConsole } from '../host-console.ts';
import { isTerminal } from '../output-descriptor.ts';
import type { RawTerminal } from '../raw-terminal.ts';
import { printMessage } from '../standard-streams.ts';
import { onWindowSize } from '../window-size.ts';
import { killMachine } from './ending-machine.ts';
import { MACHINE_ARGUMENT } from './machine-argument.ts';

interface ConsoleOptions {
  readonly force?: boolean;
  readonly view?: boolean;
  readonly replay?: number;
}

const STDIN = 0;
const STDOUT = 1;

function parseBytes(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('Use a number of bytes.');
}

const HELP = `
Shows the latest output of the console, then what follows. Any number of consoles can be attached; one
of them has the input. Without a terminal, standard input is sent to the guest, and the command ends
with the machine.

In the terminal, Ctrl-A d detaches, Ctrl-A x ends the machine, and Ctrl-A h shows the keys.

Examples:
  tsvm console web
  tsvm console --force web             takes the input from another console
  tsvm console --view web | grep -m1 login:`;

export function addConsole(command: Command): void {
  command
    .argument(...MACHINE_ARGUMENT)
    .option('-f, --force', 'take the input, even if another console has it')
    .option('--view', 'never take the input')
    .option(
      '--replay <bytes>',
      'how much of the latest output to show (default: all that is kept)',
      parseBytes,
    )
    .addHelpText('after', HELP)
    .action(async (name: string, options: ConsoleOptions) => {
      process.exitCode = await attach(name, options);
    });
}

/** @returns the exit code */
async function attach(name: string, { force, view, replay }: ConsoleOptions): Promise<number> {
  const machine = findMachine(name);
  const client = new ControlClient(machine);
  const { socket, hasInput } = await client.attachConsole({
    input: view ? 'none' : force ? 'take' : 'if-free',
    ...(replay !== undefined && { replay }),
  });
  const { promise: left, resolve: leave } = Promise.withResolvers<number>();
  let terminal: RawTerminal | undefined;
  let abandonOutput = () => {};
  process.once('exit', () => terminal?.restore());
  const lineEnd = () => (terminal?.raw ? '\r\n' : '\n');
  const tell = (text: string) => printMessage(`tsvm: ${text}${lineEnd()}`);
  for (const signal of endingSignals()) {
    process.once(signal, () => {
      // Its reader may never take it.
      abandonOutput();
      leave(exitCodeOfSignal(constants.signals[signal]));
    });
  }
  const end = () => killMachine(machine).catch((error: unknown) => tell(String(error)));
  const keys: EscapeKey[] = [
    { key: 'd', help: 'detach; the machine goes on', action: () => leave(0) },
    ...(hasInput ? [endKey(end)] : []),
  ];
  const console = await openHostConsole(
    { kind: isTerminal(STDIN) ? 'tty' : 'stdio' },
    {
      logger: createLogger('info', (line) => printMessage(line + lineEnd())),
      signal: new AbortController().signal,
      keys,
      onRaw: (opened) => {
        terminal = opened;
      },
    },
  );
  abandonOutput = () => console.abandonOutput();
  if (terminal !== undefined) {
    tell(`attached to ${name}: Ctrl-A d detaches, Ctrl-A h shows all keys`);
  }
  if (!hasInput && !view)
    tell('another console has the input: this one only shows the output (see --force)');
  if (terminal !== undefined && hasInput && isTerminal(STDOUT)) {
    // A serial console has no size, which is no error.
    onWindowSize((columns, rows) => {
      client.call('setConsoleSize', { body: { columns, rows } }).catch(() => {});
    });
  }
  try {
    connect(console, socket, () => leave(0));
    return await left;
  } finally {
    terminal?.restore();
    await endConnection(socket);
    await console.close();
    if (terminal !== undefined) printMessage('\n');
  }
}

/** Passes bytes between the machine's console and this one, each at the pace of the other. */
function connect(
  console: HostConsole,
  socket: Awaited<ReturnType<ControlClient['attachConsole']>>['socket'],
  onEnd: () => void,
): void {
  socket.on('data', (bytes: Uint8Array) => {
    if (console.write(bytes)) return;
    socket.pause();
    console.onceDrained().then(() => socket.resume());
  });
  socket.on('drain', () => console.resumeInput());
  socket.on('error', onEnd);
  socket.on('close', onEnd);
  console.startInput((bytes) => socket.write(bytes));
}
