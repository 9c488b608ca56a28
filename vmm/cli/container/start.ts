import { setTimeout as sleep } from 'node:timers/promises';
import { isActive } from '../../container/containers/container-state.ts';
import type { Container, ContainerStore } from '../../container/containers/container-store.ts';
import { TsvmError } from '../../errors.ts';
import { CaughtSignals } from './attach/caught-signals.ts';
import { checkTerminal } from './attach/session.ts';
import { spawnSupervisor } from './attach/supervisor-channel.ts';
import { forEachContainer, openContainers } from './containers.ts';
import { flag, text } from './option-values.ts';
import { exitCodeOf, startAttached } from './run.ts';
import { UsageError, type Verb } from './verb.ts';

/** Time for the supervisor of a container that has ended to tidy up. */
const RELEASE_MS = 15_000;
const POLL_MS = 10;

export const startVerb: Verb = {
  usage: 'start [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm start web
  tsvm start -ai shell`,
  addOptions: (command) =>
    command
      .option('-a, --attach', 'attach standard output and error, and forward signals')
      .option('--detach-keys <keys>', 'keys that detach from the container')
      .option('-i, --interactive', 'attach standard input')
      .option('--sig-proxy', 'forward signals to the process (default)')
      .option('--no-sig-proxy', 'do not forward signals'),
  run: async (names, options) => {
    const store = openContainers();
    const attached = flag(options, 'attach') || flag(options, 'interactive');
    if (!attached) return await forEachContainer(names, (name) => startContainer(store, name));
    const [name = '', ...others] = names;
    if (others.length > 0) {
      throw new UsageError('you cannot start and attach multiple containers at once');
    }
    const { config } = await startable(store, name);
    const { tty } = config;
    const stdin = flag(options, 'interactive') && config.openStdin;
    checkTerminal({ stdin, tty });
    const signals = options['sigProxy'] === false ? undefined : new CaughtSignals();
    const end = await startAttached(spawnSupervisor(config.id), {
      streams: [...(stdin ? ['stdin'] : []), 'stdout', 'stderr'],
      tty,
      detachKeys: text(options, 'detachKeys'),
      signals,
      untilStarted: false,
    });
    return exitCodeOf(end, 'start');
  },
};

/** Starts a container in the background; one that runs is left alone. @throws TsvmError */
export async function startContainer(store: ContainerStore, name: string): Promise<void> {
  const container = await store.find(name);
  if (isActive(container.state)) {
    if (container.state.status !== 'paused') return;
    throw new TsvmError(
      'container-conflict',
      'cannot start a paused container, try unpause instead',
    );
  }
  const { config } = await startable(store, name);
  const end = await startAttached(spawnSupervisor(config.id), {
    streams: [],
    tty: config.tty,
    detachKeys: undefined,
    untilStarted: true,
  });
  if (end.kind === 'failed') throw new TsvmError('container-failed', end.message);
  if (end.kind === 'lost') {
    throw new TsvmError('container-failed', 'the process that was to run the container was killed');
  }
}

/**
 * The container to start. Waits while the supervisor of its last run still cleans up.
 * @throws TsvmError `container-conflict` if it runs or is not released in time
 */
async function startable(store: ContainerStore, name: string): Promise<Container> {
  const container = await store.find(name);
  const { id } = container.config;
  if (isActive(container.state)) {
    throw new TsvmError('container-conflict', `container ${id} is already running`);
  }
  for (const endMs = performance.now() + RELEASE_MS; store.isAlive(id); await sleep(POLL_MS)) {
    if (performance.now() > endMs) {
      throw new TsvmError('container-conflict', `container ${id} is still being stopped`);
    }
  }
  return container;
}
