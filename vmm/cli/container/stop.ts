import { isActive } from '../../container/containers/container-state.ts';
import type { ContainerStore } from '../../container/containers/container-store.ts';
import { TsvmError } from '../../errors.ts';
import { clientOf, forEachContainer, openContainers } from './containers.ts';
import { parseCount } from './create/option-kinds.ts';
import { text } from './option-values.ts';
import { startContainer } from './start.ts';
import type { Verb } from './verb.ts';

type Options = Readonly<Record<string, unknown>>;

/** Longer than a container's time-out: the supervisor answers when the container has ended. */
const ANSWER_MS = Number.POSITIVE_INFINITY;

/** Of the request to the container's supervisor. */
interface StopQuery {
  readonly signal?: string;
  /** In seconds. */
  readonly timeout?: number;
  readonly forever?: 'yes';
}

export const stopVerb: Verb = {
  usage: 'stop [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Sends the container's stop signal to its process, and SIGKILL after the time-out. The name of a machine
of "tsvm boot" presses its power button; then the options are --force and --timeout.

Examples:
  tsvm stop web
  tsvm stop -t 2 $(tsvm ps -q)`,
  addOptions: (command) =>
    command
      .option('-s, --signal <signal>', "signal to send instead of the container's")
      .option('-t, --time <seconds>', 'time until SIGKILL is sent; -1: never')
      .option('--timeout <seconds>', 'same as --time'),
  run: async (names, options) => {
    const how = stopOptions(options);
    const store = openContainers();
    return await forEachContainer(names, (name) => stopContainer(store, name, how));
  },
};

export const restartVerb: Verb = {
  usage: 'restart [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm restart web
  tsvm restart -t 0 web`,
  addOptions: stopVerb.addOptions,
  run: async (names, options) => {
    const how = stopOptions(options);
    const store = openContainers();
    return await forEachContainer(names, async (name) => {
      await stopContainer(store, name, how);
      await startContainer(store, name);
    });
  },
};

/** @throws UsageError with Docker's message */
function stopOptions(options: Options): StopQuery {
  const signal = text(options, 'signal');
  const given = text(options, 'timeout') ?? text(options, 'time');
  const seconds = given === undefined ? undefined : parseCount(given, '-t, --timeout');
  return {
    ...(signal !== undefined && { signal }),
    ...(seconds !== undefined && seconds >= 0 && { timeout: seconds }),
    ...(seconds !== undefined && seconds < 0 && { forever: 'yes' }),
  };
}

/** Stops a container; one that does not run is left alone. @throws TsvmError */
async function stopContainer(store: ContainerStore, name: string, query: StopQuery): Promise<void> {
  const container = await store.find(name);
  if (!isActive(container.state)) return;
  try {
    await clientOf(store, container).call('stop', { query }, ANSWER_MS);
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    // It may have ended by itself since it was looked for.
    const now = await store.find(container.config.id).catch(() => undefined);
    if (now !== undefined && isActive(now.state)) throw error;
  }
}
