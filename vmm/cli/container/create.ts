import { newContainerId } from '../../container/containers/container-name.ts';
import { chooseImage, PullFailed } from './choose-image.ts';
import { openContainers } from './containers.ts';
import { createContainer } from './create/create-container.ts';
import { addCreateFlags } from './create/create-flags.ts';
import { type CreateSettings, createSettings } from './create/create-settings.ts';
import { reportFailure } from './create/failure.ts';
import { openStore } from './open-store.ts';
import { type Verb, writeLine } from './verb.ts';

/** Docker's exit code for what its engine refuses. */
const EXIT_FAILED = 1;

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
    let settings: CreateSettings;
    try {
      settings = createSettings(options, false);
    } catch (error) {
      return reportFailure(error, 'create', EXIT_FAILED);
    }
    try {
      const images = openStore();
      const image = await chooseImage(images, name, options);
      const id = newContainerId();
      await images.withContent(() =>
        createContainer(openContainers(), { id, image, words, settings }),
      );
      writeLine(id);
      return 0;
    } catch (error) {
      // It has printed why.
      if (error instanceof PullFailed) return EXIT_FAILED;
      throw error;
    }
  },
};
