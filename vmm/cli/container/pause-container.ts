import { clientOf, forEachContainer, openContainers, runningContainer } from './containers.ts';
import type { Verb } from './verb.ts';

function verb(name: 'pause' | 'unpause', help: string): Verb {
  return {
    usage: `${name} CONTAINER [CONTAINER...]`,
    argumentsMin: 1,
    argumentsMax: Number.POSITIVE_INFINITY,
    help,
    addOptions: (command) => command,
    run: async (names) => {
      const store = openContainers();
      return await forEachContainer(names, async (container) => {
        await clientOf(store, await runningContainer(store, container)).call(name);
      });
    },
  };
}

export const pauseVerb = verb(
  'pause',
  `
Stops the container's machine between two instructions: nothing in it runs. The name of a machine of
"tsvm boot" pauses that machine ("tsvm resume" lets it go on).

Examples:
  tsvm pause web`,
);

export const unpauseVerb = verb(
  'unpause',
  `
Examples:
  tsvm unpause web`,
);
