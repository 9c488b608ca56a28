import { NEW_STATE } from '../../container/containers/container-state.ts';
import type { ContainerStore } from '../../container/containers/container-store.ts';
import { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';
import { CaughtSignals } from './attach/caught-signals.ts';
import { checkTerminal, ownTerminalSize, Session, type SessionEnd } from './attach/session.ts';
import { newSupervisor, type SpawnedSupervisor } from './attach/supervisor-channel.ts';
import { chooseImage } from './choose-image.ts';
import { openContainers } from './containers.ts';
import { createContainer } from './create/create-container.ts';
import { addCreateFlags } from './create/create-flags.ts';
import { createSettings } from './create/create-settings.ts';
import { failureText, reportFailure } from './create/failure.ts';
import { openStore } from './open-store.ts';
import { flag, text, texts } from './option-values.ts';
import { type Verb, writeLine } from './verb.ts';

/** Docker's exit code when a container could not be made or started. */
const EXIT_NOT_RUN = 125;
/** As by SIGKILL. */
const EXIT_LOST = 137;
const LOST_TEXT = 'tsvm: the process that ran the container was killed';

export const runVerb: Verb = {
  usage: 'run [OPTIONS] IMAGE [COMMAND] [ARG...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  help: `
The exit code is that of the container's process, 128+N if signal N ended it; 125 if the container could
not be run, 126 if its program could not be executed, 127 if it was not found.

Examples:
  tsvm run --rm busybox echo hello
  tsvm run -it --rm debian bash                    Ctrl-P Ctrl-Q leaves it running
  tsvm run -d --name web -p 8080:80 nginx
  tsvm run --rm -v "$PWD":/work -w /work gcc make`,
  addOptions: (command) =>
    addCreateFlags(command)
      .option('-d, --detach', 'run in the background and print the ID')
      .option('--sig-proxy', 'forward signals to the process (default)')
      .option('--no-sig-proxy', 'do not forward signals'),
  run: async ([name = '', ...words], options) => {
    if (flag(options, 'detach') && texts(options, 'attach').length > 0) {
      throw new TsvmError(
        'invalid-config',
        'conflicting options: cannot specify both --attach and --detach',
      );
    }
    try {
      return await run(name, words, options);
    } catch (error) {
      return reportFailure(error, 'run', EXIT_NOT_RUN);
    }
  },
};

async function run(
  imageName: string,
  words: readonly string[],
  options: Readonly<Record<string, unknown>>,
): Promise<number> {
  const detached = flag(options, 'detach');
  const settings = createSettings(options, detached);
  const { attach, tty } = settings.own;
  if (!detached) checkTerminal({ stdin: attach.includes('stdin'), tty });
  const images = openStore();
  const image = await chooseImage(images, imageName, options);
  const store = openContainers();
  // Without a client, the container in the making would end before it has begun, even if it is detached.
  const signals = detached || options['sigProxy'] !== false ? new CaughtSignals() : undefined;
  const supervisor = newSupervisor();
  const { id, socket } = supervisor;
  try {
    const state = { ...NEW_STATE, status: 'starting', startedMs: Date.now() } as const;
    await images.withContent(() => createContainer(store, { id, image, words, settings }, state));
    // Nothing else would be seen of the container.
    if (!detached && !attach.includes('stdout') && !attach.includes('stderr')) writeLine(id);
  } catch (error) {
    socket.destroy();
    throw error;
  }
  const end = await startAttached(supervisor, {
    streams: attach,
    tty,
    detachKeys: text(options, 'detachKeys'),
    signals: detached ? undefined : signals,
    untilStarted: detached,
  });
  if (detached && end.kind === 'detached') writeLine(id);
  if (end.kind === 'lost') return await reportLoss(store, id);
  return exitCodeOf(end, 'run');
}

export interface StartOptions {
  readonly streams: readonly string[];
  readonly tty: boolean;
  readonly detachKeys: string | undefined;
  readonly signals?: CaughtSignals | undefined;
  /** Leaves the container as soon as it runs. */
  readonly untilStarted: boolean;
}

/** Tells a supervisor to start its container, and stays connected to its streams. */
export async function startAttached(
  { socket }: SpawnedSupervisor,
  { detachKeys, signals, streams, tty, untilStarted }: StartOptions,
): Promise<SessionEnd> {
  const session = new Session(socket, {
    stdin: streams.includes('stdin'),
    stdout: streams.includes('stdout'),
    stderr: streams.includes('stderr'),
    tty,
    detachKeys,
    signals,
    onStarted: () => {
      if (untilStarted) session.detach();
    },
  });
  session.send({ type: 'start', streams, ...(tty && ownTerminalSize()) });
  return await session.run();
}

/** The exit code of a foreground command whose session has ended so. */
export function exitCodeOf(end: SessionEnd, verb: string): number {
  switch (end.kind) {
    case 'exited':
      return end.exitCode;
    case 'detached':
      return 0;
    case 'failed':
      printMessage(failureText(`Error response from daemon: ${end.message}`, verb));
      return end.exitCode;
    case 'lost':
      printMessage(`${LOST_TEXT}\n`);
      return EXIT_LOST;
  }
}

/** The supervisor is gone without a word to its client, but perhaps not without any. */
async function reportLoss(store: ContainerStore, id: string): Promise<number> {
  const reason = store.lastWords(id);
  printMessage(reason === undefined ? `${LOST_TEXT}\n` : `${LOST_TEXT}: ${reason}\n`);
  // Whoever asks first settles what has become of the container.
  await store.list();
  return EXIT_LOST;
}
