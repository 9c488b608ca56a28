/** Docker's verbs for images, under all their names. */
import type { CONTAINER_COMMANDS } from '../programs.ts';
import type { Verb } from './verb.ts';

/** Only the verb that is run is loaded. */
export type LoadVerb = () => Promise<Verb>;

const history: LoadVerb = async () => (await import('./history.ts')).historyVerb;
const images: LoadVerb = async () => (await import('./images.ts')).imagesVerb;
const load: LoadVerb = async () => (await import('./load.ts')).loadVerb;
const rmi: LoadVerb = async () => (await import('./rmi.ts')).rmiVerb;
const save: LoadVerb = async () => (await import('./save.ts')).saveVerb;
const tag: LoadVerb = async () => (await import('./tag.ts')).tagVerb;

type Command = Exclude<(typeof CONTAINER_COMMANDS)[number], 'system'>;

export const CONTAINER_VERB_LOADERS: Readonly<Record<Command, LoadVerb>> = {
  history,
  'image history': history,
  'image inspect': async () => (await import('./inspect.ts')).imageInspectVerb,
  'image list': images,
  'image load': load,
  'image ls': images,
  'image prune': async () => (await import('./prune.ts')).pruneVerb,
  'image remove': rmi,
  'image rm': rmi,
  'image save': save,
  'image tag': tag,
  images,
  inspect: async () => (await import('./inspect.ts')).inspectVerb,
  load,
  rmi,
  save,
  'system df': async () => (await import('./system-df.ts')).systemDfVerb,
  'system prune': async () => (await import('./prune.ts')).systemPruneVerb,
  tag,
};
