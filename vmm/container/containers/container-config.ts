import type { ContainerLimits, ResourceLimit } from '../agent/agent.ts';
import type { Digest } from '../digest.ts';
import type { NetworkSettings } from '../networks/network-settings.ts';
import type { SeccompProfile } from '../seccomp/seccomp-profile.ts';
import type { MountSpec } from '../volumes/mount-spec.ts';

/** The version of `config.json`. */
export const CONFIG_VERSION = 1;

export const RESTART_POLICIES = ['no', 'always', 'unless-stopped', 'on-failure'] as const;

export interface RestartPolicy {
  readonly name: (typeof RESTART_POLICIES)[number];
  /** Of `on-failure`; 0: no limit. */
  readonly maximumRetryCount: number;
}

/** Docker's health check, with its defaults filled in. */
export interface HealthCheck {
  /** `['CMD', ...]` or `['CMD-SHELL', line]`. */
  readonly test: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  readonly startIntervalMs: number;
  readonly retries: number;
}

export interface LogSettings {
  readonly driver: 'json-file' | 'none';
  /** Of a file; undefined: no limit. */
  readonly maxBytes?: number | undefined;
  /** How many files are kept, with the current one. */
  readonly maxFiles: number;
}

/**
 * What a container was asked to be, with the image's settings merged in and all defaults filled in.
 * `DATA/containers/ID/config.json`.
 */
export interface ContainerConfig {
  readonly version: typeof CONFIG_VERSION;
  /** 64 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  readonly createdMs: number;
  /** As the user named it. */
  readonly image: string;
  readonly imageId: Digest;
  /** Of the image, the lowest first. */
  readonly layers: readonly Digest[];
  /** `os/architecture[/variant]`. */
  readonly platform: string;

  readonly entrypoint: readonly string[] | undefined;
  readonly command: readonly string[];
  /** `NAME=VALUE`, the image's and the user's. */
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: string;
  readonly groupAdd: readonly string[];
  readonly hostname: string;
  readonly domainname: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
  /** Seconds between the stop signal and SIGKILL; undefined: 10. */
  readonly stopTimeoutS?: number | undefined;

  readonly tty: boolean;
  /** Standard input stays open without a client. */
  readonly openStdin: boolean;
  readonly attach: readonly ('stdin' | 'stdout' | 'stderr')[];

  readonly autoRemove: boolean;
  readonly restart: RestartPolicy;
  readonly log: LogSettings;
  readonly healthCheck?: HealthCheck | undefined;

  /** vCPUs of the machine. */
  readonly cpuCount: number;
  /** Memory of the machine. */
  readonly machineMemoryBytes: number;
  readonly limits: ContainerLimits;
  readonly shmBytes: number;
  /** Of the writable layer. */
  readonly storageBytes: number;
  readonly resourceLimits: readonly ResourceLimit[];
  readonly sysctls: Readonly<Record<string, string>>;
  readonly oomScoreAdjust: number;

  readonly privileged: boolean;
  readonly readOnly: boolean;
  readonly init: boolean;
  readonly capAdd: readonly string[];
  readonly capDrop: readonly string[];
  /** As given. */
  readonly securityOptions: readonly string[];
  readonly noNewPrivileges: boolean;
  readonly seccomp: 'default' | 'unconfined' | SeccompProfile;

  readonly mounts: readonly MountSpec[];
  readonly network: NetworkSettings;
}

/** The whole command line of the container's process. */
export function processArgs({ command, entrypoint }: ContainerConfig): string[] {
  return [...(entrypoint ?? []), ...command];
}

/** Whether others on the host notice when its machine is gone: it has ports, addresses or folders of it. */
export function holdsOfHost({ mounts, network }: ContainerConfig): boolean {
  const { endpoints, ports, publishAll } = network;
  return mounts.length + endpoints.length + Object.keys(ports).length > 0 || publishAll;
}
