import { checkContainerName } from '../../container/containers/container-name.ts';
import { isActive } from '../../container/containers/container-state.ts';
import { recordEvent } from '../../container/containers/event-log.ts';
import { clientOf, openContainers } from './containers.ts';
import type { Verb } from './verb.ts';

export const renameVerb: Verb = {
  usage: 'rename CONTAINER NEW_NAME',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
Examples:
  tsvm rename quiet_heron web`,
  addOptions: (command) => command,
  run: async ([container = '', name = '']) => {
    const store = openContainers();
    const { config, state } = await store.find(container);
    await store.rename(config.id, checkContainerName(name));
    if (isActive(state)) {
      try {
        // Its names on networks, and those of its events.
        await clientOf(store, await store.find(config.id)).call('reload');
      } catch (error) {
        // It has ended meanwhile.
        if (store.isAlive(config.id)) throw error;
      }
    }
    recordEvent(store.folders, { ...config, name }, 'rename', { oldName: `/${config.name}` });
    return 0;
  },
};
