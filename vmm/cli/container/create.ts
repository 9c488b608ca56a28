import { newContainerId } from '../../container/containers/container-name.ts';
import { chooseImage } from './choose-image.ts';
import { openContainers } from './containers.ts';
import { attachedStreams, checkOptions, createContainer } from './create/create-container.ts';
import { addCreateFlags } from './create/create-flags.ts';
import { openStore } from './open-store.ts';
import { type Verb, writeLine } from './verb.ts';

export const createVerb: Verb = {
  usage: 'create [OPTIONS] IMAGE [COMMAND] [ARG...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  optionsFirst: true,
  help: `
The container is started by "tsvm start".

Examples:
  tsvm create --name job busybox sh -c 'date; sleep 10'
  tsvm start -a job`,
  addOptions: addCreateFlags,
  run: async ([name = '', ...words], options) => {
    checkOptions(options);
    const attach = attachedStreams(options);
    const images = openStore();
    const image = await chooseImage(images, name, options);
    const id = newContainerId();
    await images.withContent(() =>
      createContainer(openContainers(), { id, image, words, options, attach }),
    );
    writeLine(id);
    return 0;
  },
};
