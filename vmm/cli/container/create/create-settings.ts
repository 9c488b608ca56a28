/**
 * What the options of `run` and `create` ask for, apart from what an image adds. It is found out before
 * there is an image, so that mistakes show before one is pulled.
 */
import { readFileSync } from 'node:fs';
import { capabilityMask } from '../../../container/agent/capabilities.ts';
import type {
  ContainerConfig,
  LogSettings,
} from '../../../container/containers/container-config.ts';
import { checkContainerName } from '../../../container/containers/container-name.ts';
import { parseSignal } from '../../../container/containers/signals.ts';
import { checkStorageSize } from '../../../container/containers/writable-layer.ts';
import { resolveNetwork } from '../../../container/networks/container-networks.ts';
import {
  parseSeccompProfile,
  type SeccompProfile,
} from '../../../container/seccomp/seccomp-profile.ts';
import { type MountFlags, parseMountFlags } from '../../../container/volumes/resolve-mounts.ts';
import { TsvmError } from '../../../errors.ts';
import { hasCode } from '../../../util/error-code.ts';
import { parseDetachKeys } from '../attach/detach-keys.ts';
import { PULL_POLICIES } from '../choose-image.ts';
import { flag, text, texts } from '../option-values.ts';
import { UsageError } from '../verb.ts';
import { REFUSED } from './create-flags.ts';
import { environmentOptions, labelOptions } from './env-files.ts';
import { type HealthOptions, healthOptions } from './health-options.ts';
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

/** Members of the configuration that no image has a say in. */
type OwnSettings = Pick<
  ContainerConfig,
  | ('attach' | 'autoRemove' | 'capAdd' | 'capDrop' | 'cpuCount' | 'domainname' | 'groupAdd')
  | ('init' | 'limits' | 'log' | 'machineMemoryBytes' | 'network' | 'noNewPrivileges')
  | ('oomScoreAdjust' | 'openStdin' | 'privileged' | 'readOnly' | 'resourceLimits' | 'restart')
  | (
      | 'seccomp'
      | 'securityOptions'
      | 'shmBytes'
      | 'stopTimeoutS'
      | 'storageBytes'
      | 'sysctls'
      | 'tty'
    )
>;

export interface CreateSettings {
  readonly own: OwnSettings;
  /** Undefined: a random one. */
  readonly name: string | undefined;
  readonly idFile: string | undefined;
  readonly hostname: string | undefined;
  /** What follows is the image's if it is undefined or empty. */
  readonly env: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
  readonly user: string | undefined;
  readonly stopSignal: string | undefined;
  /** Empty: none, and not the image's either. */
  readonly entrypoint: string | undefined;
  readonly health: HealthOptions;
  readonly mounts: MountFlags;
}

const STORAGE_BYTES = 10 * 2 ** 30;
const SHM_BYTES = 64 * 2 ** 20;
const LOG_FILES_MAX = 1000;
/** Options that have no effect, but whose values must be what they are said to be. */
const IGNORED_BYTES = ['kernel-memory', 'memory-reservation', 'memory-swap'];
const IGNORED_COUNTS = ['blkio-weight', 'memory-swappiness'];

/**
 * @param detached the container's streams are nobody's, whatever `-i` says
 * @throws UsageError; TsvmError `invalid-config` and `file-unreadable` for what Docker's client refuses,
 * others for what its engine does
 */
export function createSettings(options: Options, detached: boolean): CreateSettings {
  checkRefused(options);
  const attach = detached ? [] : attachedStreams(options);
  const restart = parseRestart(text(options, 'restart') ?? '');
  const autoRemove = flag(options, 'rm');
  if (autoRemove && restart.name !== 'no') {
    throw new UsageError(
      'conflicting options: cannot specify both --restart and --rm',
      EXIT_BAD_OPTION,
    );
  }
  const detachKeys = text(options, 'detachKeys');
  if (detachKeys !== undefined) parseDetachKeys(detachKeys);
  const pullPolicy = text(options, 'pull') ?? '';
  if (!PULL_POLICIES.includes(pullPolicy)) {
    throw new UsageError(
      `invalid pull option: '${pullPolicy}': must be one of "always", "missing" or "never"`,
      EXIT_BAD_OPTION,
    );
  }
  const env = environmentOptions({
    files: texts(options, 'envFile'),
    given: texts(options, 'env'),
  });
  const labels = labelOptions({
    files: texts(options, 'labelFile'),
    given: texts(options, 'label'),
  });
  const name = text(options, 'name') || undefined;
  const stopSignal = text(options, 'stopSignal') || undefined;
  if (stopSignal !== undefined) parseSignal(stopSignal);
  return {
    own: ownSettings(options, { attach, autoRemove, restart }),
    name: name === undefined ? undefined : checkContainerName(name),
    idFile: text(options, 'cidfile') || undefined,
    hostname: text(options, 'hostname') || undefined,
    env,
    labels: keyValues(labels),
    cwd: workingFolder(text(options, 'workdir')),
    user: text(options, 'user') || undefined,
    stopSignal,
    entrypoint: text(options, 'entrypoint'),
    health: healthOptions(options),
    mounts: parseMountFlags(
      {
        volumes: texts(options, 'volume'),
        mounts: texts(options, 'mount'),
        tmpfs: texts(options, 'tmpfs'),
        volumesFrom: texts(options, 'volumesFrom'),
      },
      process.cwd(),
    ),
  };
}

function ownSettings(
  options: Options,
  given: Pick<OwnSettings, 'attach' | 'autoRemove' | 'restart'>,
): OwnSettings {
  for (const name of IGNORED_BYTES) {
    const value = text(options, camelCase(name));
    if (value !== undefined && value !== '-1') parseBytes(value, `--${name}`);
  }
  for (const name of IGNORED_COUNTS) count(options, name);
  const capabilities = { capAdd: texts(options, 'capAdd'), capDrop: texts(options, 'capDrop') };
  // A name that is none is an error now.
  capabilityMask(capabilities);
  const shmSize = text(options, 'shmSize');
  return {
    ...given,
    ...capabilities,
    ...securityOptions(texts(options, 'securityOpt')),
    ...resourceOptions(options),
    groupAdd: texts(options, 'groupAdd'),
    domainname: text(options, 'domainname') ?? '',
    stopTimeoutS: count(options, 'stop-timeout'),
    tty: flag(options, 'tty'),
    openStdin: flag(options, 'interactive') || given.attach.includes('stdin'),
    log: logSettings(options),
    shmBytes: (shmSize === undefined ? 0 : parseBytes(shmSize, '--shm-size')) || SHM_BYTES,
    storageBytes: storageSize(texts(options, 'storageOpt')),
    resourceLimits: texts(options, 'ulimit').map(parseUlimit),
    sysctls: keyValues(texts(options, 'sysctl').map(checkSysctl)),
    oomScoreAdjust: oomScore(count(options, 'oom-score-adj') ?? 0),
    privileged: flag(options, 'privileged'),
    readOnly: flag(options, 'readOnly'),
    init: flag(options, 'init'),
    network: resolveNetwork({
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
    }),
  };
}

function checkRefused(options: Options): void {
  for (const { advice, harmless = [], name } of REFUSED) {
    const value = text(options, camelCase(name));
    if (value === undefined || harmless.includes(value)) continue;
    throw new UsageError(`--${name} is not supported: ${advice}`, EXIT_BAD_OPTION);
  }
}

/** The key of an option's value. */
function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function count(options: Options, name: string): number | undefined {
  const value = text(options, camelCase(name));
  return value === undefined ? undefined : parseCount(value, `--${name}`);
}

/** The streams that a client of the container sees. */
function attachedStreams(options: Options): ContainerConfig['attach'] {
  const interactive = flag(options, 'interactive');
  const given = texts(options, 'attach').map((stream) => {
    const name = stream.toLowerCase();
    if (name === 'stdin' || name === 'stdout' || name === 'stderr') return name;
    throw badValue(stream, '-a, --attach', 'valid streams are STDIN, STDOUT and STDERR');
  });
  if (given.length > 0) return given;
  return interactive ? ['stdin', 'stdout', 'stderr'] : ['stdout', 'stderr'];
}

function workingFolder(path: string | undefined): string | undefined {
  if (path === undefined || path === '') return undefined;
  if (path.startsWith('/')) return path;
  throw new TsvmError(
    'container-conflict',
    `the working directory '${path}' is invalid, it needs to be an absolute path`,
  );
}

function checkSysctl(setting: string): string {
  if (setting.indexOf('=') > 0) return setting;
  throw badValue(setting, '--sysctl', `sysctl '${setting}' is not allowed`);
}

function oomScore(value: number): number {
  if (value >= -1000 && value <= 1000) return value;
  throw new TsvmError(
    'container-conflict',
    `Invalid value ${value}, range for oom score adj is [-1000, 1000]`,
  );
}

function securityOptions(
  given: readonly string[],
): Pick<ContainerConfig, 'noNewPrivileges' | 'seccomp' | 'securityOptions'> {
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
  return { noNewPrivileges, seccomp, securityOptions: given };
}

/** @throws TsvmError `file-unreadable`, `invalid-container` */
function seccompProfile(path: string): SeccompProfile {
  let profile: string;
  try {
    profile = readFileSync(path, 'utf8');
  } catch (cause) {
    const reason = hasCode(cause, 'ENOENT') ? 'no such file or directory' : String(cause);
    throw new TsvmError(
      'file-unreadable',
      `opening seccomp profile (${path}) failed: open ${path}: ${reason}`,
      { cause },
    );
  }
  return parseSeccompProfile(profile);
}

function storageSize(given: readonly string[]): number {
  let bytes = STORAGE_BYTES;
  if (given.some((option) => !option.includes('='))) {
    throw new UsageError('invalid storage option', EXIT_BAD_OPTION);
  }
  for (const [name, value] of Object.entries(keyValues(given))) {
    if (name !== 'size') {
      throw new UsageError(`--storage-opt ${name}: there is only size=SIZE`, EXIT_BAD_OPTION);
    }
    bytes = checkStorageSize(parseBytes(value, '--storage-opt'));
  }
  return bytes;
}

function logSettings(options: Options): LogSettings {
  const driver = text(options, 'logDriver') || 'json-file';
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
