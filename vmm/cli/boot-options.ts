import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { isMachineName } from '../api/machines/machine-name.ts';
import type { CloudInitConfig } from '../machine/cloud-init/cloud-init-config.ts';
import {
  CPUS_MAX,
  GUEST_CID_MAX,
  GUEST_CID_MIN,
  type ImageDiskConfig,
  type VsockConfig,
} from '../machine/config.ts';
import type { ConsoleDeviceKind, PortConfig } from '../machine/console-config.ts';
import type { GdbConfig } from '../machine/gdb-config.ts';
import { ENGINES } from '../machine/kernel-mode.ts';
import type { PmemConfig } from '../machine/pmem-config.ts';
import type { ShareConfig } from '../machine/share-config.ts';
import { LOG_LEVELS } from '../observability/logger.ts';
import { fsPath } from '../util/byte-names.ts';
import type { ConsoleKind } from './host-console.ts';
import { limitSettings } from './limit-settings.ts';
import { parseMemory } from './memory-size.ts';

/** `--memory`: bytes. */
export interface MemoryOption {
  readonly bytes: number;
  /** For a machine whose memory can be raised while it runs. */
  readonly maxBytes?: number;
}

/** `--memory SIZE[,max=SIZE]`. */
export function parseMemoryOption(text: string): MemoryOption {
  const [size = '', ...flags] = text.split(',');
  let memory: MemoryOption = { bytes: parseMemory(size) };
  for (const flag of flags) {
    const [, max] = /^max=(.+)$/.exec(flag) ?? [];
    if (max === undefined) {
      throw new InvalidArgumentError(`Unknown flag '${flag}'. The flag is max=SIZE.`);
    }
    memory = { ...memory, maxBytes: parseMemory(max) };
  }
  return memory;
}

/** `--cpus`. */
export function parseCpus(text: string): number {
  const cpus = Number(text);
  if (!/^\d+$/.test(text) || cpus < 1 || cpus > CPUS_MAX) {
    throw new InvalidArgumentError(`Use a number from 1 to ${CPUS_MAX}.`);
  }
  return cpus;
}

/** `--name`. */
export function parseName(text: string): string {
  if (!isMachineName(text)) {
    throw new InvalidArgumentError(
      'Use up to 64 letters, digits, "_", "." and "-", beginning with a letter or a digit.',
    );
  }
  return text;
}

/** Flags that may follow the file name in `--disk`. */
const DISK_FLAGS: Readonly<Record<string, Partial<ImageDiskConfig>>> = {
  ro: { readOnly: true },
  overlay: { overlay: true },
  'format=raw': { format: 'raw' },
  'format=qcow2': { format: 'qcow2' },
  'backing=allow': { backing: 'allow' },
};

const DISK_LIMITS = limitSettings('iops');

/** Splits `FILE[,flag]…`. A comma in the file name must be doubled. */
function splitFlags(text: string): [file: string, ...flags: string[]] {
  const [file = '', ...flags] = text
    .split(/(?<!,),(?!,)/)
    .map((part) => part.replaceAll(',,', ','));
  if (file === '') throw new InvalidArgumentError('The file name is missing.');
  return [file, ...flags];
}

/**
 * `--disk FILE[,ro][,overlay][,format=raw|qcow2][,backing=allow][,bps=N][,iops=N]`. A comma in the
 * file name must be doubled.
 */
export function parseDisk(text: string): ImageDiskConfig {
  const [path, ...flags] = splitFlags(text);
  let disk: ImageDiskConfig = {
    path,
    readOnly: false,
    overlay: false,
    format: undefined,
    backing: 'same-folder',
  };
  for (const flag of flags) {
    const [, name = '', value = ''] = /^(\w+)=(.+)$/.exec(flag) ?? [];
    if (Object.hasOwn(DISK_LIMITS, name)) {
      disk = { ...disk, limits: { ...disk.limits, ...DISK_LIMITS[name]?.(value) } };
      continue;
    }
    const setting = Object.hasOwn(DISK_FLAGS, flag) ? DISK_FLAGS[flag] : undefined;
    if (setting === undefined) {
      const limits = Object.keys(DISK_LIMITS).map((limit) => `${limit}=`);
      const known = [...Object.keys(DISK_FLAGS), ...limits].join(', ');
      throw new InvalidArgumentError(`Unknown flag '${flag}'. The flags are ${known}.`);
    }
    disk = { ...disk, ...setting };
  }
  return disk;
}

const CLOUD_INIT_FILES: Readonly<Record<string, 'metaDataPath' | 'networkConfigPath'>> = {
  'meta-data': 'metaDataPath',
  'network-config': 'networkConfigPath',
};

/** `--cloud-init FILE[,meta-data=FILE][,network-config=FILE]`. A comma in a name must be doubled. */
export function parseCloudInit(text: string, before?: CloudInitConfig): CloudInitConfig {
  if (before !== undefined) throw new InvalidArgumentError('The option is given more than once.');
  const [userDataPath, ...flags] = splitFlags(text);
  let config: CloudInitConfig = { userDataPath };
  for (const flag of flags) {
    const [, name = '', path] = /^([a-z-]+)=(.+)$/s.exec(flag) ?? [];
    const setting = Object.hasOwn(CLOUD_INIT_FILES, name) ? CLOUD_INIT_FILES[name] : undefined;
    if (setting === undefined || path === undefined) {
      throw new InvalidArgumentError(
        `Unknown flag '${flag}'. The flags are meta-data=FILE and network-config=FILE.`,
      );
    }
    config = { ...config, [setting]: path };
  }
  return config;
}

/** `--password TEXT` or `--password file:PATH`, of which the first line counts. */
export function parsePassword(text: string): string {
  if (!text.startsWith('file:')) return text;
  const path = text.slice('file:'.length);
  try {
    const [line = ''] = readFileSync(fsPath(path), 'utf8').split(/\r?\n/, 1);
    return line;
  } catch (cause) {
    throw new InvalidArgumentError(`It cannot be read: ${(cause as Error).message}.`);
  }
}

/** `--share DIR:TAG[,ro]`. The tag follows the last colon; a comma in the path must be doubled. */
export function parseShare(text: string): ShareConfig {
  const [folder, ...flags] = splitFlags(text);
  const [, path, tag] = /^(.+):([^:]+)$/s.exec(folder) ?? [];
  if (path === undefined || tag === undefined) {
    throw new InvalidArgumentError('Use DIR:TAG, e.g. src:src; the guest mounts it by its tag.');
  }
  for (const flag of flags) {
    if (flag !== 'ro') throw new InvalidArgumentError(`Unknown flag '${flag}'. The flag is ro.`);
  }
  return { path, tag, readOnly: flags.length > 0 };
}

/** `--pmem FILE[,ro]`. A comma in the file name must be doubled. */
export function parsePmem(text: string): PmemConfig {
  const [path, ...flags] = splitFlags(text);
  for (const flag of flags) {
    if (flag !== 'ro') throw new InvalidArgumentError(`Unknown flag '${flag}'. The flag is ro.`);
  }
  return { path, readOnly: flags.length > 0 };
}

/** `--vsock SOCKET[,cid=N]`. A comma in the path must be doubled. */
export function parseVsock(text: string): VsockConfig {
  const [socketPath, ...flags] = splitFlags(text);
  let vsock: VsockConfig = { socketPath };
  for (const flag of flags) {
    const guestCid = Number(/^cid=(\d+)$/.exec(flag)?.[1]);
    if (!(guestCid >= GUEST_CID_MIN && guestCid <= GUEST_CID_MAX)) {
      throw new InvalidArgumentError(
        `Unknown flag '${flag}'. The flag is cid=N, from ${GUEST_CID_MIN} to ${GUEST_CID_MAX}.`,
      );
    }
    vsock = { socketPath, guestCid };
  }
  return vsock;
}

/** `--gdb SOCKET|[ADDRESS:]PORT[,wait]`. A comma in the path must be doubled. */
export function parseGdb(text: string): GdbConfig {
  const [where, ...flags] = splitFlags(text);
  const unknown = flags.find((flag) => flag !== 'wait');
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`Unknown flag '${unknown}'. The flag is wait.`);
  }
  const waits = flags.length > 0;
  const [, bracketed, plain, port] = /^(?:(?:\[(.*)\]|([^/:]*)):)?(\d{1,5})$/.exec(where) ?? [];
  if (port === undefined) return { socketPath: where, waits };
  const address = bracketed ?? plain;
  return { ...(address && { address }), port: Number(port), waits };
}

/** `--console`. */
export function parseConsole(text: string): ConsoleKind {
  if (text === 'tty' || text === 'stdio' || text === 'none') return { kind: text };
  const path = text.startsWith('file:') ? text.slice('file:'.length) : '';
  if (path === '') {
    throw new InvalidArgumentError(
      'Use tty, stdio, file:PATH or none, with virtio, before it or not.',
    );
  }
  return { kind: 'file', path };
}

/** What the guest's console is, and where it leads to on the host. */
export interface ConsoleOption {
  readonly device: ConsoleDeviceKind;
  /** Default: depends on whether there is a terminal. */
  readonly where: ConsoleKind | undefined;
}

/** `--console [virtio,]WHERE`, or `virtio` alone. */
export function parseConsoleOption(text: string): ConsoleOption {
  if (text === 'virtio') return { device: 'virtio', where: undefined };
  const isVirtio = text.startsWith('virtio,');
  return isVirtio
    ? { device: 'virtio', where: parseConsole(text.slice('virtio,'.length)) }
    : { device: 'serial', where: parseConsole(text) };
}

/** `--port NAME=SOCKET`. */
export function parsePort(text: string): PortConfig {
  const [, name, socketPath] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || socketPath === undefined) {
    throw new InvalidArgumentError('Use NAME=SOCKET, e.g. agent=agent.sock.');
  }
  return { name, socketPath };
}

function oneOf<T extends string>(words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((known) => known === text);
    if (word === undefined) throw new InvalidArgumentError(`Use ${words.join(' or ')}.`);
    return word;
  };
}

/** `--engine`. */
export const parseEngine = oneOf(ENGINES);
/** `--log-level`. */
export const parseLogLevel = oneOf(LOG_LEVELS);
/** `--acpi`. */
export const parseOnOff = oneOf(['on', 'off'] as const);
/** `--on-reboot`. */
export const parseOnReboot = oneOf(['exit', 'restart'] as const);

/** `--sandbox`. */
export interface SandboxOption {
  readonly on: boolean;
  /** Files and folders that may be opened later, for "tsvm disk add" and "tsvm swap-disk". */
  readonly files: readonly string[];
}

/** `--sandbox on[,files=PATH]...` or `off`. */
export function parseSandbox(text: string): SandboxOption {
  const [word, ...flags] = splitFlags(text);
  const files = flags.map((flag) => /^files=(.+)$/s.exec(flag)?.[1]);
  if (word === 'off' && files.length === 0) return { on: false, files: [] };
  if (word !== 'on' || !files.every((path) => path !== undefined)) {
    throw new InvalidArgumentError('Use on, on,files=PATH or off.');
  }
  return { on: true, files };
}

/**
 * For options such as `--kernel` that name a single file: a repeated option is an error, instead of
 * silently replacing the first. For other options the last value counts.
 */
export function onlyOnce(text: string, before?: string): string {
  if (before !== undefined) {
    throw new InvalidArgumentError('The option is given more than once.');
  }
  if (text === '') throw new InvalidArgumentError('The value is empty.');
  return text;
}

/** `--append`, repeatable. */
export function appendWords(text: string, before?: string): string {
  return before === undefined ? text : `${before} ${text}`;
}

/** `--cpu-mask`, repeatable. */
export function addFlags(text: string, before: readonly string[]): readonly string[] {
  return [...before, ...text.split(',').filter((flag) => flag !== '')];
}

/** A parser for a repeatable option. */
export function collect<T>(parse: (text: string) => T): (text: string, before?: T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}
