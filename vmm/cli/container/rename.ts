import { checkContainerName } from '../../container/containers/container-name.ts';
import { recordEvent } from '../../container/containers/event-log.ts';
import { openContainers } from './containers.ts';
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
    const { config } = await store.find(container);
    await store.rename(config.id, checkContainerName(name));
    recordEvent(store.folders, { ...config, name }, 'rename', { oldName: `/${config.name}` });
    return 0;
  },
};
