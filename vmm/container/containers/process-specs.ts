import type { ContainerRoot, ProcessSpec, TerminalSize } from '../agent/agent.ts';
import type { ContainerConfig } from './container-config.ts';
import { processArgs } from './container-config.ts';
import type { MachinePart } from './machine-part.ts';

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** What an exec may say otherwise than the container's own process. */
export interface ExecRequest {
  readonly args: readonly string[];
  readonly env?: readonly string[] | undefined;
  readonly cwd?: string | undefined;
  readonly user?: string | undefined;
  readonly privileged?: boolean | undefined;
  readonly stdin?: boolean | undefined;
  readonly terminal?: TerminalSize | undefined;
  /** In the guest, outside of the container. */
  readonly guest?: boolean | undefined;
}

/** Of several settings of a variable, the last counts. */
export function mergeEnv(...lists: readonly (readonly string[])[]): string[] {
  const byName = new Map<string, string>();
  for (const setting of lists.flat()) {
    const equals = setting.indexOf('=');
    if (equals < 0) byName.delete(setting);
    else byName.set(setting.slice(0, equals), setting);
  }
  return [...byName.values()];
}

function environment(config: ContainerConfig, tty: boolean, own: readonly string[]): string[] {
  const terminal = tty ? ['TERM=xterm'] : [];
  return mergeEnv([DEFAULT_PATH, `HOSTNAME=${config.hostname}`, ...terminal], config.env, own);
}

/** The container's own process. */
export function mainProcess(config: ContainerConfig, size: TerminalSize): ProcessSpec {
  return {
    args: processArgs(config),
    env: environment(config, config.tty, []),
    cwd: config.cwd,
    user: config.user,
    groupAdd: config.groupAdd,
    ...(config.tty && { terminal: size }),
    stdin: config.openStdin,
    capAdd: config.capAdd,
    capDrop: config.capDrop,
    noNewPrivileges: config.noNewPrivileges,
    seccomp: config.seccomp,
    resourceLimits: config.resourceLimits,
    oomScoreAdjust: config.oomScoreAdjust,
    privileged: config.privileged,
  };
}

/** A process beside it. */
export function execProcess(config: ContainerConfig, exec: ExecRequest): ProcessSpec {
  const { args, cwd, env = [], guest, privileged, stdin, terminal, user } = exec;
  if (guest === true) {
    return { scope: 'guest', args, env: mergeEnv([DEFAULT_PATH], env), cwd, terminal, stdin };
  }
  return {
    args,
    env: environment(config, terminal !== undefined, env),
    cwd: cwd ?? config.cwd,
    user: user ?? config.user,
    groupAdd: config.groupAdd,
    terminal,
    stdin,
    capAdd: config.capAdd,
    capDrop: config.capDrop,
    noNewPrivileges: config.noNewPrivileges,
    seccomp: config.seccomp,
    resourceLimits: config.resourceLimits,
    oomScoreAdjust: config.oomScoreAdjust,
    privileged: privileged ?? config.privileged,
  };
}

/** @param metadataBytes of the image's disk, see {@link ContainerRoot.metadataBytes} */
export function containerRoot(
  config: ContainerConfig,
  metadataBytes: number,
  parts: readonly MachinePart[],
): ContainerRoot {
  const hosts = parts.find((part) => part.hosts !== undefined)?.hosts ?? '';
  const names = parts.find((part) => part.names !== undefined)?.names ?? { resolvConf: '' };
  return {
    ...names,
    metadataBytes,
    writable: 'disk',
    readOnly: config.readOnly,
    hostname: config.hostname,
    domainname: config.domainname,
    hosts,
    mounts: parts.flatMap(({ mounts = [] }) => mounts),
    interfaces: parts.flatMap(({ interfaces = [] }) => interfaces),
    publishedPorts: parts.flatMap(({ publishedPorts = [] }) => publishedPorts),
    sysctls: config.sysctls,
    limits: config.limits,
    shmBytes: config.shmBytes,
    privileged: config.privileged,
    init: config.init,
  };
}
