/** Docker's verbs for containers and images, under all their names. */
import type { CONTAINER_COMMANDS, CONTAINER_VERBS } from '../programs.ts';
import type { Verb } from './verb.ts';

/** Only the verb that is run is loaded. */
export type LoadVerb = () => Promise<Verb>;

const history: LoadVerb = async () => (await import('./history.ts')).historyVerb;
const images: LoadVerb = async () => (await import('./images.ts')).imagesVerb;
const load: LoadVerb = async () => (await import('./load.ts')).loadVerb;
const ps: LoadVerb = async () => (await import('./ps.ts')).psVerb;
const rmi: LoadVerb = async () => (await import('./rmi.ts')).rmiVerb;
const save: LoadVerb = async () => (await import('./save.ts')).saveVerb;
const tag: LoadVerb = async () => (await import('./tag.ts')).tagVerb;

type Command =
  | (typeof CONTAINER_VERBS)[number]
  | Exclude<(typeof CONTAINER_COMMANDS)[number], 'container' | 'system'>;

export const CONTAINER_VERB_LOADERS: Readonly<Record<Command, LoadVerb>> = {
  attach: async () => (await import('./attach.ts')).attachVerb,
  create: async () => (await import('./create.ts')).createVerb,
  events: async () => (await import('./events.ts')).eventsVerb,
  exec: async () => (await import('./exec.ts')).execVerb,
  kill: async () => (await import('./kill.ts')).killVerb,
  logs: async () => (await import('./logs.ts')).logsVerb,
  pause: async () => (await import('./pause-container.ts')).pauseVerb,
  port: async () => (await import('./port.ts')).portVerb,
  ps,
  rename: async () => (await import('./rename.ts')).renameVerb,
  restart: async () => (await import('./stop.ts')).restartVerb,
  rm: async () => (await import('./rm.ts')).rmVerb,
  run: async () => (await import('./run.ts')).runVerb,
  start: async () => (await import('./start.ts')).startVerb,
  stats: async () => (await import('./stats.ts')).statsVerb,
  stop: async () => (await import('./stop.ts')).stopVerb,
  top: async () => (await import('./top.ts')).topVerb,
  unpause: async () => (await import('./pause-container.ts')).unpauseVerb,
  update: async () => (await import('./update.ts')).updateVerb,
  wait: async () => (await import('./wait.ts')).waitVerb,
  'container inspect': async () => (await import('./inspect.ts')).containerInspectVerb,
  'container list': ps,
  'container ls': ps,
  'container prune': async () => (await import('./container-prune.ts')).containerPruneVerb,
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
