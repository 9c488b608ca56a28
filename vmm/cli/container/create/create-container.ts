/** From the command line of `run` or `create` to a container. */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import {
  CONFIG_VERSION,
  type ContainerConfig,
  type LogSettings,
} from '../../../container/containers/container-config.ts';
import { checkContainerName } from '../../../container/containers/container-name.ts';
import type { ContainerState } from '../../../container/containers/container-state.ts';
import type {
  ContainerStore,
  NewContainer,
} from '../../../container/containers/container-store.ts';
import { recordEvent } from '../../../container/containers/event-log.ts';
import { mergeEnv } from '../../../container/containers/process-specs.ts';
import { parseSignal } from '../../../container/containers/signals.ts';
import { checkStorageSize } from '../../../container/containers/writable-layer.ts';
import type { Digest } from '../../../container/digest.ts';
import type { ImageConfig } from '../../../container/image-config.ts';
import {
  isObject,
  type JsonObject,
  stringAt,
  stringMapAt,
  stringsAt,
} from '../../../container/json.ts';
import { containerNetwork } from '../../../container/networks/container-networks.ts';
import {
  parseSeccompProfile,
  type SeccompProfile,
} from '../../../container/seccomp/seccomp-profile.ts';
import {
  removeAnonymousVolumes,
  resolveMounts,
} from '../../../container/volumes/container-volumes.ts';
import { errorText, TsvmError } from '../../../errors.ts';
import { hasCode } from '../../../util/error-code.ts';
import { flag, text, texts } from '../option-values.ts';
import { UsageError } from '../verb.ts';
import { REFUSED } from './create-flags.ts';
import { resolveVariables, settingsOfFile } from './env-files.ts';
import { healthOptions } from './health-options.ts';
import {
  badValue,
  EXIT_BAD_OPTION,
  keyValues,
  parseBytes,
  parseCount,
  parseRestart,
  parseUlimit,
} from './option-kinds.ts';
import { resourceOptions } from './resources.ts';

type Options = Readonly<Record<string, unknown>>;

/** An image that a container is made of. */
export interface ChosenImage {
  /** As the user named it. */
  readonly name: string;
  readonly id: Digest;
  readonly layers: readonly Digest[];
  readonly platform: string;
  readonly config: ImageConfig;
}

export interface CreateRequest {
  readonly id: string;
  readonly image: ChosenImage;
  /** What follows the image on the command line. */
  readonly words: readonly string[];
  readonly options: Options;
  /** Of the streams, for `run -d`: none. */
  readonly attach: ContainerConfig['attach'];
}

const STORAGE_BYTES = 10 * 2 ** 30;
const SHM_BYTES = 64 * 2 ** 20;
const LOG_FILES_MAX = 1000;
const HOSTNAME_DIGITS = 12;

/** Checks what can be checked before there is an image. @throws UsageError */
export function checkOptions(options: Options): void {
  for (const [name, advice] of Object.entries(REFUSED)) {
    if (options[name] === undefined) continue;
    const long = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new UsageError(`--${long} is not supported: ${advice}`, EXIT_BAD_OPTION);
  }
  if (flag(options, 'rm') && !['no', ''].includes(text(options, 'restart') ?? '')) {
    throw new UsageError('conflicting options: cannot specify both --restart and --rm', 125);
  }
  const name = text(options, 'name');
  if (name !== undefined) checkContainerName(name);
}

/** The streams that a client of the container sees. */
export function attachedStreams(options: Options): ContainerConfig['attach'] {
  const interactive = flag(options, 'interactive');
  const given = texts(options, 'attach').map((stream) => {
    const name = stream.toLowerCase();
    if (name === 'stdin' || name === 'stdout' || name === 'stderr') return name;
    throw badValue(stream, '-a, --attach', 'valid streams are STDIN, STDOUT and STDERR');
  });
  if (given.length > 0) return given;
  return interactive ? ['stdin', 'stdout', 'stderr'] : ['stdout', 'stderr'];
}

/** Adds a container to the store. */
export async function createContainer(
  store: ContainerStore,
  request: CreateRequest,
  state?: ContainerState,
): Promise<ContainerConfig> {
  const { options } = request;
  const cidPath = text(options, 'cidfile');
  const cidFd = cidPath === undefined ? undefined : openIdFile(cidPath);
  let created: ContainerConfig | undefined;
  let container: NewContainer | undefined;
  try {
    const name = text(options, 'name');
    container = await resolveContainer(store, request);
    created = await store.create(
      container,
      name === undefined ? undefined : checkContainerName(name),
      state,
    );
    recordEvent(store.folders, created, 'create');
    if (cidFd !== undefined) writeSync(cidFd, created.id);
    return created;
  } finally {
    if (cidFd !== undefined) closeSync(cidFd);
    if (created === undefined && container !== undefined) removeAnonymousVolumes(container.mounts);
    if (created === undefined && cidPath !== undefined) rmSync(cidPath, { force: true });
  }
}

async function resolveContainer(
  store: ContainerStore,
  { attach, id, image, options, words }: CreateRequest,
): Promise<NewContainer> {
  const { run } = image.config;
  const ports = Object.keys(isObject(run['ExposedPorts']) ? run['ExposedPorts'] : {});
  const volumes = Object.keys(isObject(run['Volumes']) ? run['Volumes'] : {});
  const security = securityOptions(texts(options, 'securityOpt'));
  const stopSignal = text(options, 'stopSignal') ?? (stringAt(run, 'StopSignal') || 'SIGTERM');
  parseSignal(stopSignal);
  const stopTimeout = text(options, 'stopTimeout');
  const privileged = flag(options, 'privileged');
  const labels = texts(options, 'labelFile').flatMap(settingsOfFile);
  const oomScore = text(options, 'oomScoreAdj');
  return {
    version: CONFIG_VERSION,
    id,
    createdMs: Date.now(),
    image: image.name,
    imageId: image.id,
    layers: image.layers,
    platform: image.platform,
    ...commandOf(options, run, words),
    env: mergeEnv(
      stringsAt(run, 'Env') ?? [],
      resolveVariables(texts(options, 'envFile').flatMap(settingsOfFile)),
      resolveVariables(texts(options, 'env')),
    ),
    cwd: workingFolder(text(options, 'workdir') ?? (stringAt(run, 'WorkingDir') || '/')),
    user: text(options, 'user') ?? stringAt(run, 'User') ?? '',
    groupAdd: texts(options, 'groupAdd'),
    hostname: text(options, 'hostname') ?? id.slice(0, HOSTNAME_DIGITS),
    domainname: text(options, 'domainname') ?? '',
    labels: {
      ...stringMapAt(run, 'Labels'),
      ...keyValues(labels),
      ...keyValues(texts(options, 'label')),
    },
    stopSignal,
    stopTimeoutS: stopTimeout === undefined ? undefined : parseCount(stopTimeout, '--stop-timeout'),
    tty: flag(options, 'tty'),
    openStdin: flag(options, 'interactive') || attach.includes('stdin'),
    attach,
    autoRemove: flag(options, 'rm'),
    restart: parseRestart(text(options, 'restart') ?? 'no'),
    log: logSettings(options),
    healthCheck: healthOptions(options, run),
    ...resourceOptions(options),
    shmBytes: text(options, 'shmSize')
      ? parseBytes(text(options, 'shmSize') ?? '', '--shm-size')
      : SHM_BYTES,
    storageBytes: storageSize(texts(options, 'storageOpt')),
    resourceLimits: texts(options, 'ulimit').map(parseUlimit),
    sysctls: keyValues(texts(options, 'sysctl')),
    oomScoreAdjust: oomScore === undefined ? 0 : parseCount(oomScore, '--oom-score-adj'),
    privileged,
    readOnly: flag(options, 'readOnly'),
    init: flag(options, 'init'),
    capAdd: texts(options, 'capAdd'),
    capDrop: texts(options, 'capDrop'),
    securityOptions: texts(options, 'securityOpt'),
    ...security,
    network: containerNetwork({
      networks: [...texts(options, 'network'), ...texts(options, 'net')],
      aliases: [...texts(options, 'networkAlias'), ...texts(options, 'netAlias')],
      ip: text(options, 'ip'),
      ip6: text(options, 'ip6'),
      macAddress: text(options, 'macAddress'),
      publish: texts(options, 'publish'),
      publishAll: flag(options, 'publishAll'),
      expose: texts(options, 'expose'),
      dns: texts(options, 'dns'),
      dnsSearch: texts(options, 'dnsSearch'),
      dnsOptions: [...texts(options, 'dnsOption'), ...texts(options, 'dnsOpt')],
      addHosts: texts(options, 'addHost'),
      imagePorts: ports,
    }),
    // Last: it makes volumes, which nothing that fails here may leave behind.
    mounts: await resolveMounts(
      {
        volumes: texts(options, 'volume'),
        mounts: texts(options, 'mount'),
        tmpfs: texts(options, 'tmpfs'),
        volumesFrom: texts(options, 'volumesFrom'),
        imageVolumes: volumes,
      },
      (name) => store.read(store.resolve(name))?.config.mounts ?? [],
    ),
  };
}

/** With `--entrypoint` the image's command is void, as with Docker. */
function commandOf(
  options: Options,
  run: JsonObject,
  words: readonly string[],
): Pick<ContainerConfig, 'command' | 'entrypoint'> {
  const given = text(options, 'entrypoint');
  const imageEntrypoint = stringsAt(run, 'Entrypoint') ?? [];
  const entrypoint = given === undefined ? imageEntrypoint : given === '' ? [] : [given];
  const imageCommand = given === undefined ? (stringsAt(run, 'Cmd') ?? []) : [];
  const command = words.length > 0 ? words : imageCommand;
  if (entrypoint.length + command.length === 0) {
    throw new TsvmError('container-conflict', 'No command specified');
  }
  return { entrypoint: entrypoint.length > 0 ? entrypoint : undefined, command };
}

function workingFolder(path: string): string {
  if (path.startsWith('/')) return path;
  throw new TsvmError(
    'container-conflict',
    `the working directory '${path}' is invalid, it needs to be an absolute path`,
  );
}

function securityOptions(
  given: readonly string[],
): Pick<ContainerConfig, 'noNewPrivileges' | 'seccomp'> {
  let noNewPrivileges = false;
  let seccomp: ContainerConfig['seccomp'] = 'default';
  for (const option of given) {
    const [name = '', value = ''] = option.split(/[=:]/, 2);
    if (name === 'no-new-privileges') noNewPrivileges = value !== 'false';
    else if (name === 'seccomp' && value === 'unconfined') seccomp = 'unconfined';
    else if (name === 'seccomp' && ['', 'builtin', 'default'].includes(value)) seccomp = 'default';
    else if (name === 'seccomp') seccomp = seccompProfile(option.slice(name.length + 1));
    // There is neither AppArmor nor SELinux in the machine to confine or not.
    else if (!['apparmor', 'label', 'systempaths'].includes(name)) {
      throw new UsageError(
        `invalid --security-opt: ${JSON.stringify(option)}: use no-new-privileges, seccomp=unconfined or seccomp=FILE`,
        EXIT_BAD_OPTION,
      );
    }
  }
  return { noNewPrivileges, seccomp };
}

/** @throws TsvmError `invalid-container` */
function seccompProfile(path: string): SeccompProfile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new TsvmError(
      'invalid-container',
      `opening seccomp profile (${path}) failed: ${errorText(error)}`,
      { cause: error },
    );
  }
  return parseSeccompProfile(text);
}

function storageSize(given: readonly string[]): number {
  let bytes = STORAGE_BYTES;
  for (const [name, value] of Object.entries(keyValues(given))) {
    if (name !== 'size') {
      throw new UsageError(`--storage-opt ${name}: there is only size=SIZE`, EXIT_BAD_OPTION);
    }
    bytes = checkStorageSize(parseBytes(value, '--storage-opt'));
  }
  return bytes;
}

function logSettings(options: Options): LogSettings {
  const driver = text(options, 'logDriver') ?? 'json-file';
  // Other drivers' logs are read by "logs" as well, so what is kept locally does.
  if (!['json-file', 'local', 'none', 'k8s-file'].includes(driver)) {
    throw new UsageError(`--log-driver ${driver}: there are json-file and none`, EXIT_BAD_OPTION);
  }
  const given = keyValues(texts(options, 'logOpt'));
  const size = given['max-size'];
  const files = given['max-file'];
  const maxFiles = files === undefined ? 1 : parseCount(files, '--log-opt');
  if (maxFiles < 1 || maxFiles > LOG_FILES_MAX) {
    throw badValue(String(files), '--log-opt', `max-file is from 1 to ${LOG_FILES_MAX}`);
  }
  return {
    driver: driver === 'none' ? 'none' : 'json-file',
    ...(size !== undefined && size !== '-1' && { maxBytes: parseBytes(size, '--log-opt') }),
    maxFiles,
  };
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
