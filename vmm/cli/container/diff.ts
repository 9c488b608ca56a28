import { openContainers } from './containers.ts';
import { withContainerRoot } from './files/container-root.ts';
import { type Verb, writeLine } from './verb.ts';

const LETTERS = { added: 'A', changed: 'C', deleted: 'D' } as const;

export const diffVerb: Verb = {
  usage: 'diff CONTAINER',
  argumentsMin: 1,
  argumentsMax: 1,
  help: `
A: added, C: changed, D: deleted. Mounted volumes do not count.

Examples:
  tsvm diff web`,
  addOptions: (command) => command,
  run: async ([name = '']) => {
    const store = openContainers();
    const container = await store.find(name);
    const changes = await withContainerRoot(store, container, (root) => root.changes());
    for (const { kind, path } of changes) writeLine(`${LETTERS[kind]} ${path}`);
    return 0;
  },
};
