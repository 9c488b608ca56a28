import { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';
import { checkTerminal, ownTerminalSize, Session } from './attach/session.ts';
import { clientOf, openContainers, runningContainer } from './containers.ts';
import { environmentOptions } from './create/env-files.ts';
import { flag, text, texts } from './option-values.ts';
import { collect, type Verb } from './verb.ts';

const DEFAULT_SIZE = { columns: 80, rows: 24 };
/** As by SIGKILL. */
const EXIT_LOST = 137;

export const execVerb: Verb = {
  usage: 'exec [OPTIONS] CONTAINER COMMAND [ARG...]',
  argumentsMin: 2,
  argumentsMax: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  help: `
Runs in the namespaces of the container's process, as nsenter would. With --guest the program runs in the
container's machine but outside of the container.

Examples:
  tsvm exec -it web sh
  tsvm exec -u 1000 -w /tmp -e DEBUG=1 web make
  tsvm exec --guest -it web sh`,
  addOptions: (command) =>
    command
      .option('-d, --detach', 'run the process in the background')
      .option('--detach-keys <keys>', 'keys that detach from the process')
      .option('-e, --env <name[=value]>', 'set an environment variable', collect)
      .option('--env-file <file>', 'read environment variables from a file', collect)
      .option('--guest', "run it in the container's machine, outside of the container")
      .option('-i, --interactive', 'keep standard input open')
      .option('--privileged', 'run the process with all capabilities')
      .option('-t, --tty', 'allocate a pseudo-terminal')
      .option('-u, --user <name|uid[:group|gid]>', 'user and group')
      .option('-w, --workdir <folder>', 'working directory'),
  run: async ([name = '', ...args], options) => {
    const env = environmentOptions({
      files: texts(options, 'envFile'),
      given: texts(options, 'env'),
    });
    const store = openContainers();
    const container = await runningContainer(store, name);
    const detach = flag(options, 'detach');
    const stdin = flag(options, 'interactive') && !detach;
    const tty = flag(options, 'tty');
    checkTerminal({ stdin, tty });
    const { socket } = await clientOf(store, container).upgrade('exec');
    const session = new Session(socket, {
      stdin,
      stdout: !detach,
      stderr: !detach,
      tty,
      detachKeys: text(options, 'detachKeys'),
      onStarted: () => {
        if (detach) session.detach();
      },
    });
    session.send({
      type: 'exec',
      args,
      env,
      cwd: text(options, 'workdir'),
      user: text(options, 'user'),
      ...(flag(options, 'privileged') && { privileged: true }),
      guest: flag(options, 'guest'),
      stdin,
      ...(tty && { terminal: ownTerminalSize() ?? DEFAULT_SIZE }),
      detach,
    });
    const end = await session.run();
    switch (end.kind) {
      case 'exited':
        return end.exitCode;
      case 'detached':
        return 0;
      case 'failed':
        printMessage(`${end.message}\n`);
        return end.exitCode;
      case 'lost': {
        const { state } = await store.find(container.config.id).catch(() => container);
        if (state.status === 'exited') return EXIT_LOST;
        throw new TsvmError('container-failed', 'the process that runs the container was killed');
      }
    }
  },
};
