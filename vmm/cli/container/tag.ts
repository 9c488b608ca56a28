import { parseReference, type Reference, withDefaultTag } from '../../container/reference.ts';
import { TsvmError } from '../../errors.ts';
import { openStore } from './open-store.ts';
import type { Verb } from './verb.ts';

export const tagVerb: Verb = {
  usage: 'tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]',
  argumentsMin: 2,
  argumentsMax: 2,
  help: `
Examples:
  tsvm tag busybox:latest registry.example:5000/tools/busybox:1.36`,
  addOptions: (command) => command,
  run: async ([source = '', target = '']) => {
    const reference = targetReference(target);
    const store = openStore();
    await store.addName((images) => store.find(source, images).image, reference);
    return 0;
  },
};

function targetReference(text: string): Reference {
  let reason = 'refusing to create a tag with a digest reference';
  try {
    const reference = parseReference(text);
    if (reference.digest === undefined) return withDefaultTag(reference);
  } catch (error) {
    if (!(error instanceof TsvmError)) throw error;
    reason = `"${text}" is not a valid repository/tag: ${error.message}`;
    throw new TsvmError('invalid-config', `Error parsing reference: ${reason}`, { cause: error });
  }
  throw new TsvmError('invalid-config', reason);
}
