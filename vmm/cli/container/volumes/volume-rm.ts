import { openVolumeStore } from '../../../container/volumes/volume-store.ts';
import { forEachName } from '../object-details.ts';
import { flag } from '../option-values.ts';
import type { Verb } from '../verb.ts';
import { removeUnused, volumeUses } from './volume-use.ts';

export const volumeRmVerb: Verb = {
  usage: 'rm [OPTIONS] VOLUME [VOLUME...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Volumes that a container has, running or not, are kept.

Examples:
  tsvm volume rm data`,
  addOptions: (command) =>
    command.option('-f, --force', 'do not fail for a volume that does not exist'),
  run: async (names, options) => {
    const store = openVolumeStore();
    const uses = await volumeUses();
    return await forEachName(names, (name) => {
      if (flag(options, 'force') && store.read(name) === undefined) return;
      removeUnused(store, store.find(name), uses);
    });
  },
};
