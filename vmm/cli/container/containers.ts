/** What verbs for containers share. */
import { ContainerClient } from '../../api/containers/container-client.ts';
import { ContainerFolders } from '../../container/containers/container-folders.ts';
import { isRunning } from '../../container/containers/container-state.ts';
import { type Container, ContainerStore } from '../../container/containers/container-store.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import { printMessage } from '../standard-streams.ts';
import { errorText } from './error-text.ts';
import { writeLine } from './verb.ts';

/** The user's containers. Nothing is opened or made yet. */
export function openContainers(): ContainerStore {
  return new ContainerStore(ContainerFolders.ofUser(), {
    // The addon is loaded on first use.
    lockFile: (...args) => hostFiles().lockFile(...args),
    isFileLocked: (...args) => hostFiles().isFileLocked(...args),
  });
}

export function clientOf(store: ContainerStore, { config }: Container): ContainerClient {
  return new ContainerClient(store.folders.process(config.id), config.id);
}

/** @throws TsvmError `container-conflict` for a container that does not run */
export async function runningContainer(store: ContainerStore, name: string): Promise<Container> {
  const container = await store.find(name);
  if (isRunning(container.state)) return container;
  throw new TsvmError('container-conflict', `container ${container.config.id} is not running`);
}

/**
 * Does something with each of several containers and prints its name, as Docker does: what fails for
 * one does not keep the others from being tried.
 * @returns the exit code
 */
export async function forEachContainer(
  names: readonly string[],
  action: (name: string) => Promise<void>,
  shown: (name: string) => string = (name) => name,
): Promise<number> {
  const outcomes = await Promise.allSettled(
    names.map(async (name) => {
      await action(name);
      return name;
    }),
  );
  let code = 0;
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') writeLine(shown(outcome.value));
    else {
      const { reason } = outcome;
      if (!(reason instanceof TsvmError)) throw reason;
      printMessage(`${errorText(reason)}\n`);
      code = 1;
    }
  }
  return code;
}
