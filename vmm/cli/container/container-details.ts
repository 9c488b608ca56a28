/** The fields of `docker inspect` for a container. */
import type { ContainerConfig } from '../../container/containers/container-config.ts';
import { type ContainerState, dockerStatus } from '../../container/containers/container-state.ts';
import type { Container, ContainerStore } from '../../container/containers/container-store.ts';
import { networkDetails } from '../../container/networks/container-networks.ts';
import { mountPoints } from '../../container/volumes/container-volumes.ts';
import { allocatedBytes } from './container-size.ts';
import { NIL_LIST } from './template/values.ts';

const NO_TIME = '0001-01-01T00:00:00Z';
const NS_PER_MS = 1e6;
const NANO_CPUS = 1e9;

function time(ms: number): string {
  return ms === 0 ? NO_TIME : new Date(ms).toISOString();
}

/** @param withSize also how much it has written, which takes longer */
export function containerDetails(
  store: ContainerStore,
  { config, state }: Container,
  withSize: boolean,
): object {
  const [path = '', ...args] = [...(config.entrypoint ?? []), ...config.command];
  const isLive = state.status === 'running' || state.status === 'paused';
  return {
    Id: config.id,
    Created: time(config.createdMs),
    Path: path,
    Args: args,
    State: stateDetails(state),
    Image: config.imageId,
    ResolvConfPath: '',
    HostnamePath: '',
    HostsPath: '',
    LogPath: config.log.driver === 'none' ? '' : store.folders.log(config.id),
    Name: `/${config.name}`,
    RestartCount: state.restartCount,
    Driver: 'erofs',
    Platform: config.platform.split('/')[0],
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: NIL_LIST,
    HostConfig: hostConfig(config),
    GraphDriver: { Name: 'erofs', Data: { Writable: store.folders.writable(config.id) } },
    ...(withSize && { SizeRw: allocatedBytes(store, config.id) }),
    Mounts: mountPoints(config.mounts),
    Config: runConfig(config),
    NetworkSettings: networkDetails(config.network, isLive ? state.facts : undefined),
  };
}

function stateDetails(state: ContainerState): object {
  const { health, status } = state;
  return {
    Status: dockerStatus(state),
    Running: status === 'running' || status === 'paused' || status === 'restarting',
    Paused: status === 'paused',
    Restarting: status === 'restarting',
    OOMKilled: state.oomKilled,
    Dead: false,
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: time(state.startedMs),
    FinishedAt: time(state.finishedMs),
    ...(health !== undefined && {
      Health: {
        Status: health.status,
        FailingStreak: health.failingStreak,
        Log: health.log.map(({ endMs, exitCode, output, startMs }) => ({
          Start: time(startMs),
          End: time(endMs),
          ExitCode: exitCode,
          Output: output,
        })),
      },
    }),
  };
}

function runConfig(config: ContainerConfig): object {
  const { healthCheck } = config;
  return {
    Hostname: config.hostname,
    Domainname: config.domainname,
    User: config.user,
    AttachStdin: config.attach.includes('stdin'),
    AttachStdout: config.attach.includes('stdout'),
    AttachStderr: config.attach.includes('stderr'),
    ExposedPorts: Object.fromEntries(config.network.exposed.map((port) => [port, {}])),
    Tty: config.tty,
    OpenStdin: config.openStdin,
    StdinOnce: config.openStdin && config.attach.includes('stdin'),
    Env: config.env,
    Cmd: config.command.length > 0 ? config.command : NIL_LIST,
    ...(healthCheck !== undefined && {
      Healthcheck: {
        Test: healthCheck.test,
        Interval: healthCheck.intervalMs * NS_PER_MS,
        Timeout: healthCheck.timeoutMs * NS_PER_MS,
        StartPeriod: healthCheck.startPeriodMs * NS_PER_MS,
        StartInterval: healthCheck.startIntervalMs * NS_PER_MS,
        Retries: healthCheck.retries,
      },
    }),
    Image: config.image,
    Volumes: Object.fromEntries(
      config.mounts
        .filter(({ origin, type }) => type === 'volume' && origin.option !== 'mount')
        .map(({ destination }) => [destination, {}]),
    ),
    WorkingDir: config.cwd === '/' ? '' : config.cwd,
    Entrypoint: config.entrypoint ?? NIL_LIST,
    OnBuild: NIL_LIST,
    Labels: config.labels,
    StopSignal: config.stopSignal,
    ...(config.stopTimeoutS !== undefined && { StopTimeout: config.stopTimeoutS }),
  };
}

function hostConfig(config: ContainerConfig): object {
  const { limits, log, network, restart } = config;
  return {
    Binds: config.mounts.flatMap(({ origin }) => (origin.option === 'volume' ? [origin.text] : [])),
    ContainerIDFile: '',
    LogConfig: {
      Type: log.driver,
      Config: {
        ...(log.maxBytes !== undefined && { 'max-size': String(log.maxBytes) }),
        ...(log.maxFiles > 1 && { 'max-file': String(log.maxFiles) }),
      },
    },
    NetworkMode: network.dockerMode,
    PortBindings: Object.fromEntries(
      Object.entries(network.ports).map(([port, bindings]) => [
        port,
        bindings.map(({ hostAddress, hostPort }) => ({ HostIp: hostAddress, HostPort: hostPort })),
      ]),
    ),
    RestartPolicy: { Name: restart.name, MaximumRetryCount: restart.maximumRetryCount },
    AutoRemove: config.autoRemove,
    CapAdd: config.capAdd.length > 0 ? config.capAdd : NIL_LIST,
    CapDrop: config.capDrop.length > 0 ? config.capDrop : NIL_LIST,
    Dns: network.dns,
    DnsOptions: network.dnsOptions,
    DnsSearch: network.dnsSearch,
    ExtraHosts: network.extraHosts.length > 0 ? network.extraHosts : NIL_LIST,
    GroupAdd: config.groupAdd.length > 0 ? config.groupAdd : NIL_LIST,
    OomScoreAdj: config.oomScoreAdjust,
    Privileged: config.privileged,
    PublishAllPorts: network.publishAll,
    ReadonlyRootfs: config.readOnly,
    SecurityOpt: config.securityOptions.length > 0 ? config.securityOptions : NIL_LIST,
    StorageOpt: { size: String(config.storageBytes) },
    ShmSize: config.shmBytes,
    Sysctls: config.sysctls,
    Runtime: 'tsvm',
    Isolation: '',
    Memory: limits.memoryBytes ?? 0,
    NanoCpus: Math.round((limits.cpus ?? config.cpuCount) * NANO_CPUS),
    CpusetCpus: limits.cpuset ?? '',
    PidsLimit: limits.pids ?? null,
    Init: config.init,
    Ulimits: config.resourceLimits.map(({ hard, name, soft }) => ({
      Name: name,
      Hard: hard,
      Soft: soft,
    })),
  };
}
