import { setTimeout as sleep } from 'node:timers/promises';
import { killHolder } from '../../api/machines/kill-holder.ts';
import { isActive } from '../../container/containers/container-state.ts';
import type { Container, ContainerStore } from '../../container/containers/container-store.ts';
import { recordEvent } from '../../container/containers/event-log.ts';
import { removeAnonymousVolumes } from '../../container/volumes/container-volumes.ts';
import { TsvmError } from '../../errors.ts';
import { clientOf, forEachContainer, openContainers } from './containers.ts';
import { flag } from './option-values.ts';
import { UsageError, type Verb } from './verb.ts';

/** Time for a supervisor to end after SIGKILL to its container, before it is killed itself. */
const END_MS = 8_000;
const POLL_MS = 10;

export const rmVerb: Verb = {
  usage: 'rm [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm rm job
  tsvm rm -f $(tsvm ps -a -q)`,
  addOptions: (command) =>
    command
      .option('-f, --force', 'kill the container first if it runs (SIGKILL)')
      .option('-l, --link', 'not supported: there are no links')
      .option('-v, --volumes', 'remove its anonymous volumes too'),
  run: async (names, options) => {
    if (flag(options, 'link')) throw new UsageError('there are no links', 125);
    const store = openContainers();
    const force = flag(options, 'force');
    return await forEachContainer(names, async (name) => {
      const container = await findForRemoval(store, name, force);
      if (container !== undefined) {
        await removeContainer(store, container, { force, volumes: flag(options, 'volumes') });
      }
    });
  },
};

/** With `--force`, one that is not there is removed already. */
async function findForRemoval(
  store: ContainerStore,
  name: string,
  force: boolean,
): Promise<Container | undefined> {
  try {
    return await store.find(name);
  } catch (error) {
    const missing = error instanceof TsvmError && error.code === 'container-not-found';
    if (missing && force) return undefined;
    throw error;
  }
}

/** @throws TsvmError `container-conflict` for a container that runs, without `force` */
export async function removeContainer(
  store: ContainerStore,
  container: Container,
  { force, volumes }: { readonly force: boolean; readonly volumes: boolean },
): Promise<void> {
  const { config, state } = container;
  const { id, name } = config;
  if (isActive(state)) {
    if (!force) {
      const advice =
        state.status === 'paused'
          ? 'unpause and then stop the container before removal or force remove'
          : 'stop the container before removal or force remove';
      throw new TsvmError(
        'container-conflict',
        `cannot remove container "/${name}": container is ${state.status}: ${advice}`,
      );
    }
    await kill(store, container);
  }
  await untilReleased(store, id);
  // The user's wish is fulfilled with --force, by whatever command.
  if (!(await store.remove(id))) {
    if (force) return;
    throw new TsvmError('container-not-found', `No such container: ${name}`);
  }
  if (volumes) removeAnonymousVolumes(config.mounts);
  recordEvent(store.folders, config, 'destroy');
}

async function kill(store: ContainerStore, container: Container): Promise<void> {
  try {
    await clientOf(store, container).call(
      'stop',
      { query: { timeout: 0, signal: 'KILL' } },
      END_MS,
    );
  } catch (error) {
    // It has ended meanwhile, or hangs.
    if (!(error instanceof TsvmError)) throw error;
  }
}

/** Waits until no process has the container; one that does not let go is killed. */
async function untilReleased(store: ContainerStore, id: string): Promise<void> {
  const endMs = performance.now() + END_MS;
  while (store.isAlive(id)) {
    if (performance.now() > endMs) killHolder(store.folders.process(id));
    await sleep(POLL_MS);
  }
  store.forgetProcess(id);
}
