import { removeImage } from '../../container/remove.ts';
import { TsvmError } from '../../errors.ts';
import { printMessage } from '../standard-streams.ts';
import { errorText } from './error-text.ts';
import { openStore } from './open-store.ts';
import { flag } from './option-values.ts';
import { type Verb, writeLine } from './verb.ts';

export const rmiVerb: Verb = {
  usage: 'rmi [OPTIONS] IMAGE [IMAGE...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
Examples:
  tsvm rmi busybox:1.36
  tsvm rmi $(tsvm images -q)`,
  addOptions: (command) =>
    command
      .option('-f, --force', 'also remove images with several tags, and ignore missing ones')
      .option('--no-prune', 'ignored: there are no unnamed parent images'),
  run: async (names, options) => {
    const store = openStore();
    const force = flag(options, 'force');
    const errors: TsvmError[] = [];
    for (const name of names) {
      try {
        const { untagged, deleted } = await removeImage(store, name, force);
        for (const reference of untagged) writeLine(`Untagged: ${reference}`);
        for (const id of deleted) writeLine(`Deleted: ${id}`);
      } catch (error) {
        // The other images are removed even so.
        if (!(error instanceof TsvmError)) throw error;
        errors.push(error);
      }
    }
    if (errors.length === 0) return 0;
    printMessage(`${errors.map(errorText).join('\n')}\n`);
    return force && errors.every(({ code }) => code === 'image-not-found') ? 0 : 1;
  },
};
