/** From what the command line of `run` or `create` asks for, and an image, to a container. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import {
  CONFIG_VERSION,
  type ContainerConfig,
} from '../../../container/containers/container-config.ts';
import type { ContainerState } from '../../../container/containers/container-state.ts';
import type {
  ContainerStore,
  NewContainer,
} from '../../../container/containers/container-store.ts';
import { recordEvent } from '../../../container/containers/event-log.ts';
import { mergeEnv } from '../../../container/containers/process-specs.ts';
import { parseSignal } from '../../../container/containers/signals.ts';
import {
  isObject,
  type JsonObject,
  stringAt,
  stringMapAt,
  stringsAt,
} from '../../../container/json.ts';
import { containerNetwork } from '../../../container/networks/container-networks.ts';
import {
  removeAnonymousVolumes,
  resolveMounts,
} from '../../../container/volumes/container-volumes.ts';
import { TsvmError } from '../../../errors.ts';
import { hasCode } from '../../../util/error-code.ts';
import type { ChosenImage } from '../choose-image.ts';
import type { CreateSettings } from './create-settings.ts';
import { healthCheck } from './health-options.ts';

export interface CreateRequest {
  readonly id: string;
  readonly image: ChosenImage;
  /** What follows the image on the command line. */
  readonly words: readonly string[];
  readonly settings: CreateSettings;
}

const HOSTNAME_DIGITS = 12;

/** Adds a container to the store. */
export async function createContainer(
  store: ContainerStore,
  request: CreateRequest,
  state?: ContainerState,
): Promise<ContainerConfig> {
  const { idFile, name } = request.settings;
  const idFd = idFile === undefined ? undefined : openIdFile(idFile);
  let created: ContainerConfig | undefined;
  let container: NewContainer | undefined;
  try {
    container = await resolveContainer(store, request);
    created = await store.create(container, name, state);
    recordEvent(store.folders, created, 'create');
    if (idFd !== undefined) writeSync(idFd, created.id);
    return created;
  } finally {
    if (idFd !== undefined) closeSync(idFd);
    if (created === undefined && container !== undefined) removeAnonymousVolumes(container.mounts);
    if (created === undefined && idFile !== undefined) rmSync(idFile, { force: true });
  }
}

async function resolveContainer(
  store: ContainerStore,
  { id, image, settings, words }: CreateRequest,
): Promise<NewContainer> {
  const { run } = image.config;
  const { own } = settings;
  const ports = Object.keys(isObject(run['ExposedPorts']) ? run['ExposedPorts'] : {});
  const volumes = Object.keys(isObject(run['Volumes']) ? run['Volumes'] : {});
  const stopSignal = settings.stopSignal ?? (stringAt(run, 'StopSignal') || 'SIGTERM');
  parseSignal(stopSignal);
  return {
    ...own,
    version: CONFIG_VERSION,
    id,
    createdMs: Date.now(),
    image: image.name,
    imageId: image.id,
    layers: image.layers,
    platform: image.platform,
    ...commandOf(settings.entrypoint, run, words),
    env: mergeEnv(stringsAt(run, 'Env') ?? [], settings.env),
    cwd: settings.cwd ?? (stringAt(run, 'WorkingDir') || '/'),
    user: settings.user ?? stringAt(run, 'User') ?? '',
    hostname: settings.hostname ?? id.slice(0, HOSTNAME_DIGITS),
    labels: { ...stringMapAt(run, 'Labels'), ...settings.labels },
    stopSignal,
    healthCheck: healthCheck(settings.health, run),
    network: containerNetwork(own.network, ports),
    // Last: it makes volumes, which nothing that fails here may leave behind.
    mounts: await resolveMounts(
      settings.mounts,
      volumes,
      (name) => store.read(store.resolve(name))?.config.mounts ?? [],
    ),
  };
}

/** With `--entrypoint` the image's command is void, as with Docker. */
function commandOf(
  given: string | undefined,
  run: JsonObject,
  words: readonly string[],
): Pick<ContainerConfig, 'command' | 'entrypoint'> {
  const imageEntrypoint = stringsAt(run, 'Entrypoint') ?? [];
  const entrypoint = given === undefined ? imageEntrypoint : given === '' ? [] : [given];
  const imageCommand = given === undefined ? (stringsAt(run, 'Cmd') ?? []) : [];
  const command = words.length > 0 ? words : imageCommand;
  if (entrypoint.length + command.length === 0) {
    throw new TsvmError('container-conflict', 'No command specified');
  }
  return { entrypoint: entrypoint.length > 0 ? entrypoint : undefined, command };
}

function openIdFile(path: string): number {
  try {
    return openSync(path, 'wx', 0o644);
  } catch (cause) {
    const reason = hasCode(cause, 'EEXIST')
      ? `container ID file found, make sure the other container isn't running or delete ${path}`
      : `failed to create the container ID file: ${cause}`;
    throw new TsvmError('invalid-config', reason, { cause });
  }
}
