import { isActive } from '../../container/containers/container-state.ts';
import { TsvmError } from '../../errors.ts';
import { CaughtSignals } from './attach/caught-signals.ts';
import { checkTerminal, ownTerminalSize, Session } from './attach/session.ts';
import { clientOf, openContainers } from './containers.ts';
import { text } from './option-values.ts';
import { exitCodeOf } from './run.ts';
import type { Verb } from './verb.ts';

export const attachVerb: Verb = {
  usage: 'attach [OPTIONS] CONTAINER',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
Connects this terminal to the container's own process. Ctrl-P Ctrl-Q detaches from a container that has a
terminal.

Examples:
  tsvm attach shell
  tsvm attach --no-stdin web`,
  addOptions: (command) =>
    command
      .option('--detach-keys <keys>', 'keys that detach from the container')
      .option('--no-stdin', 'do not attach standard input')
      .option('--sig-proxy', 'forward signals to the process (default)')
      .option('--no-sig-proxy', 'do not forward signals'),
  run: async ([name = ''], options) => {
    const store = openContainers();
    const container = await store.find(name);
    const { openStdin, tty } = container.config;
    const { status } = container.state;
    // Docker's client says so.
    const refusal = (text: string) => new TsvmError('invalid-config', `cannot attach to a ${text}`);
    if (status === 'paused') throw refusal('paused container, unpause it first');
    if (status === 'restarting') throw refusal('restarting container, wait until it is running');
    if (!isActive(container.state)) throw refusal('stopped container, start it first');
    const stdin = options['stdin'] !== false && openStdin;
    checkTerminal({ stdin, tty });
    const { socket } = await clientOf(store, container).upgrade('attach', {
      stdin: stdin ? 'yes' : 'no',
      stdout: 'yes',
      stderr: 'yes',
    });
    const session = new Session(socket, {
      stdin,
      stdout: true,
      stderr: true,
      tty,
      detachKeys: text(options, 'detachKeys'),
      signals: options['sigProxy'] === false ? undefined : new CaughtSignals(),
    });
    const size = tty ? ownTerminalSize() : undefined;
    if (size !== undefined) {
      // Another size and back: the shell draws its prompt again.
      session.send({ type: 'resize', columns: size.columns + 1, rows: size.rows + 1 });
    }
    return exitCodeOf(await session.run(), 'attach');
  },
};
