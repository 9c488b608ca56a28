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
const networkLs: LoadVerb = async () => (await import('./networks/network-ls.ts')).networkLsVerb;
const networkRm: LoadVerb = async () => (await import('./networks/network-rm.ts')).networkRmVerb;
const volumeLs: LoadVerb = async () => (await import('./volumes/volume-ls.ts')).volumeLsVerb;
const volumeRm: LoadVerb = async () => (await import('./volumes/volume-rm.ts')).volumeRmVerb;
const tag: LoadVerb = async () => (await import('./tag.ts')).tagVerb;

type Command =
  | (typeof CONTAINER_VERBS)[number]
  | Exclude<(typeof CONTAINER_COMMANDS)[number], 'container' | 'network' | 'system' | 'volume'>;

export const CONTAINER_VERB_LOADERS: Readonly<Record<Command, LoadVerb>> = {
  attach: async () => (await import('./attach.ts')).attachVerb,
  commit: async () => (await import('./commit.ts')).commitVerb,
  cp: async () => (await import('./cp.ts')).cpVerb,
  create: async () => (await import('./create.ts')).createVerb,
  diff: async () => (await import('./diff.ts')).diffVerb,
  events: async () => (await import('./events.ts')).eventsVerb,
  exec: async () => (await import('./exec.ts')).execVerb,
  export: async () => (await import('./export.ts')).exportVerb,
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
  'network connect': async () => (await import('./networks/network-connect.ts')).networkConnectVerb,
  'network create': async () => (await import('./networks/network-create.ts')).networkCreateVerb,
  'network disconnect': async () =>
    (await import('./networks/network-connect.ts')).networkDisconnectVerb,
  'network inspect': async () => (await import('./networks/network-inspect.ts')).networkInspectVerb,
  'network list': networkLs,
  'network ls': networkLs,
  'network prune': async () => (await import('./networks/network-rm.ts')).networkPruneVerb,
  'network remove': networkRm,
  'network rm': networkRm,
  rmi,
  save,
  'system df': async () => (await import('./system-df.ts')).systemDfVerb,
  'system install': async () => (await import('./system-install.ts')).systemInstallVerb,
  'system prune': async () => (await import('./prune.ts')).systemPruneVerb,
  'system start-containers': async () => (await import('./system-install.ts')).startContainersVerb,
  tag,
  'volume create': async () => (await import('./volumes/volume-create.ts')).volumeCreateVerb,
  'volume inspect': async () => (await import('./volumes/volume-inspect.ts')).volumeInspectVerb,
  'volume list': volumeLs,
  'volume ls': volumeLs,
  'volume prune': async () => (await import('./volumes/volume-prune.ts')).volumePruneVerb,
  'volume remove': volumeRm,
  'volume rm': volumeRm,
};
