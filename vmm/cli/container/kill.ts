import { TsvmError } from '../../errors.ts';
import { clientOf, forEachContainer, openContainers, runningContainer } from './containers.ts';
import { text } from './option-values.ts';
import type { Verb } from './verb.ts';

export const killVerb: Verb = {
  usage: 'kill [OPTIONS] CONTAINER [CONTAINER...]',
  argumentsMin: 1,
  argumentsMax: Number.POSITIVE_INFINITY,
  help: `
The name of a machine of "tsvm boot" ends that machine, like a power failure.

Examples:
  tsvm kill web
  tsvm kill -s HUP web`,
  addOptions: (command) =>
    command.option('-s, --signal <signal>', 'signal to send to the main process', 'KILL'),
  run: async (names, options) => {
    const store = openContainers();
    const signal = text(options, 'signal') ?? 'KILL';
    return await forEachContainer(names, async (name) => {
      try {
        const container = await runningContainer(store, name);
        await clientOf(store, container).call('kill', { query: { signal } });
      } catch (error) {
        if (!(error instanceof TsvmError) || error.code !== 'container-conflict') throw error;
        const message = `Cannot kill container: ${name}: ${error.message}`;
        throw new TsvmError('container-conflict', message, { cause: error });
      }
    });
  },
};
