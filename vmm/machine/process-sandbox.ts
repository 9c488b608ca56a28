import { chownSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { stockIoUring } from '../host/io-uring.ts';
import {
  beginConfinement,
  Cleaner,
  confineProcess,
  probeSandbox,
  type SandboxPath,
} from '../host/sandbox.ts';
import { decodeBytes, fsPath } from '../util/byte-names.ts';
import { packageRoot } from '../util/package-root.ts';
import type { ResolvedConfig } from './config.ts';
import { diskWorkerCount } from './devices/disks.ts';

/**
 * How far the sandbox of a machine reaches. `threads`: the filters of the machine's threads alone.
 * `process`: all threads, JavaScript's included, and the files that can be opened.
 */
export const SANDBOX_REACHES = ['off', 'threads', 'process'] as const;
export type SandboxReach = (typeof SANDBOX_REACHES)[number];

/** How far a sandbox reaches, and why no further. */
export interface SandboxState {
  readonly reach: SandboxReach;
  readonly reason?: string;
}

/** @param restarts the process boots the machine again when the guest resets */
export function sandboxOf(config: ResolvedConfig, restarts: boolean): SandboxState {
  if (!config.sandbox) return { reach: 'off' };
  if (restarts) {
    return { reach: 'threads', reason: 'a machine that restarts opens its files again' };
  }
  if (config.shares.length > 0) {
    return { reach: 'threads', reason: 'virtiofsd is started again for each driver' };
  }
  return { reach: 'process' };
}

/** What the process of a machine needs besides what the machine has open. */
export interface ProcessFiles {
  /** The machine's folder, where its control socket will be. */
  readonly folder: string | undefined;
  /** The terminal that Node opens again for its input. */
  readonly terminal: string | undefined;
  /** Files to write later, and folders of such files. */
  readonly later: readonly string[];
}

/** The sandbox that a process is to enter. */
export interface PreparedSandbox {
  /** The user that the process has then; 0: the user stays. */
  readonly user: number;
  /** Why root stays. */
  readonly reason?: string;
  readonly files: ProcessFiles;
  readonly paths: readonly SandboxPath[];
}

/**
 * Begins to prepare the sandbox of this process on another thread, which takes a moment: call it while
 * the machine is set up, when all files are there.
 * @throws TsvmError `sandbox-unavailable`
 */
export function prepareSandbox(config: ResolvedConfig, files: ProcessFiles): PreparedSandbox {
  const common = { user: 0, files, paths: allowedPaths(config, files) };
  if (process.geteuid?.() !== 0) return common;
  const reason = whyRootStays();
  if (reason !== undefined) return { ...common, reason };
  beginConfinement(common.paths);
  return { ...common, user: newUser() };
}

/** A process in its sandbox. */
export interface EnteredSandbox {
  readonly state: SandboxState;
  /** Removes what the sandbox keeps this process from removing. Idempotent. */
  finish(): void;
}

/** Disks that a running machine can be given, and that have rings of io_uring then. */
const NEW_DISKS = 2;

/** Of systemd's list of user ids: those that nobody assigns. A process id is less than 2^22. */
const USER_BASE = 0x74000000;

/**
 * Confines this process, which runs one machine, for good. Call it when the machine is assembled and
 * before it starts.
 * @param prepared what {@link prepareSandbox} has returned
 * @throws TsvmError `sandbox-unavailable`
 */
export function enterSandbox(config: ResolvedConfig, prepared: PreparedSandbox): EnteredSandbox {
  const { user, paths, files } = prepared;
  const { folder, later } = files;
  const connects = config.vsock?.socketPath !== undefined;
  const sockets = socketsOf(config);
  const cleaner =
    user !== 0 || sockets.length > 0
      ? new Cleaner(user === 0 ? undefined : folder, sockets)
      : undefined;
  if (folder !== undefined && user !== 0) chownSync(fsPath(folder), user, user);
  const writes = connects || later.length > 0;
  const disks =
    config.disks.length + (later.length > 0 && config.transport === 'pci' ? NEW_DISKS : 0);
  // Without disks, counting their workers would load node:os for nothing.
  if (disks > 0) stockIoUring(disks * diskWorkerCount(config.cpus));
  const report = confineProcess({ connects, writes, user, paths });
  const reason = report.files ? prepared.reason : NO_LANDLOCK;
  return {
    state: { reach: 'process', ...(reason !== undefined && { reason }) },
    finish: () => cleaner?.finish(),
  };
}

function allowedPaths(config: ResolvedConfig, files: ProcessFiles): SandboxPath[] {
  const { folder, later, terminal } = files;
  const socket = config.vsock?.socketPath;
  const paths: SandboxPath[] = [
    // Modules that are loaded when they are needed.
    { path: packageRoot(), access: 'read' },
    ...(folder === undefined ? [] : ([{ path: folder, access: 'own' }] as const)),
    ...(folder === undefined
      ? []
      : ([{ path: dirname(folder), access: 'empty-folders' }] as const)),
    ...(terminal === undefined ? [] : ([{ path: terminal, access: 'terminal' }] as const)),
    ...later.map((path) => ({ path: resolve(path), access: 'write' }) as const),
    // The host's listeners: the socket's path, with an underscore and the port.
    ...(socket === undefined
      ? []
      : ([{ path: dirname(resolve(socket)), access: 'connect' }] as const)),
  ];
  return paths.flatMap(({ path, access }) =>
    [...new Set([path, realPath(path)])].map((name) => ({ path: name, access })),
  );
}

/** A path without symbolic links, which are not there in the sandbox; itself if it is not there. */
function realPath(path: string): string {
  try {
    return decodeBytes(realpathSync(fsPath(path), { encoding: 'buffer' }));
  } catch {
    return path;
  }
}

function socketsOf(config: ResolvedConfig): string[] {
  const ports = config.ports.map(({ socketPath }) => socketPath);
  return [config.vsock?.socketPath, config.gdb?.socketPath, ...ports]
    .filter((path) => path !== undefined)
    .map((path) => resolve(path));
}

function newUser(): number {
  return USER_BASE + process.pid;
}

const NO_LANDLOCK = 'this kernel has no Landlock, so that files can be opened';

/** Why root remains the user of a process in its sandbox; undefined if it does not. */
function whyRootStays(): string | undefined {
  if (probeSandbox().landlockVersion === 0) return NO_LANDLOCK;
  const [inside, , count] = firstLine('/proc/self/uid_map').trim().split(/\s+/).map(Number);
  if (inside === 0 && Number(count) > newUser()) return undefined;
  return 'its user stays root, as this user namespace has no other users';
}

/** The first line of a file, or nothing if it cannot be read. */
function firstLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').split('\n')[0] ?? '';
  } catch {
    return '';
  }
}
