import { commitContainer, runSettings } from '../../container/commit-container.ts';
import { withDefaultTag } from '../../container/reference.ts';
import { interruptible } from '../image/interrupt.ts';
import { applyChanges } from './config-changes.ts';
import { openContainers } from './containers.ts';
import { completeArchive } from './files/complete-archive.ts';
import { withContainerRoot } from './files/container-root.ts';
import { openStore } from './open-store.ts';
import { text, texts, userReference } from './option-values.ts';
import { collect, type Verb, writeLine } from './verb.ts';

export const commitVerb: Verb = {
  usage: 'commit [OPTIONS] CONTAINER [REPOSITORY[:TAG]]',
  argumentsMin: 1,
  argumentsMax: 2,
  help: `
What is in mounted volumes is not part of the image. The processes of a running container stand still while
it is read, unless you give --pause=false.

Examples:
  tsvm commit web fridge:new
  tsvm commit -c 'CMD ["/bin/serve"]' -c 'EXPOSE 80' web fridge`,
  addOptions: (command) =>
    command
      .option('-a, --author <author>', 'author, such as "Ann <ann@example.com>"')
      .option(
        '-c, --change <instruction>',
        'apply a Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, ' +
          'VOLUME or WORKDIR',
        collect,
      )
      .option('-m, --message <text>', 'commit message')
      .option('-p, --pause', 'pause the container while it is read (default)', true)
      .option('--no-pause', 'same as --pause=false'),
  run: async ([name = '', target], options) => {
    const reference = target === undefined ? undefined : withDefaultTag(userReference(target));
    const containers = openContainers();
    const container = await containers.find(name);
    const images = openStore();
    const { config } = container;
    const base = images.content.readConfig(images.find(config.imageId).image.id).run;
    const run = applyChanges(texts(options, 'change'), runSettings(config, base));
    return await interruptible(async (signal) => {
      const id = await withContainerRoot(containers, container, async (root) => {
        const layer = await root.archive('changes', options['pause'] !== false);
        return await commitContainer(images, {
          container: config,
          layer: layer.compose(completeArchive()),
          run: run as Readonly<Record<string, unknown>>,
          author: text(options, 'author') ?? '',
          comment: text(options, 'message') ?? '',
          reference,
          signal,
        });
      });
      writeLine(id);
      return 0;
    });
  },
};
