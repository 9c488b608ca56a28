import { existsSync, statSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { invalidMount, mountDestination } from './destination.ts';
import { parseMountFlag, type VolumeSettings } from './mount-flag.ts';
import type { MountOrigin, MountSpec, TmpfsSpec, VolumeSpec } from './mount-spec.ts';
import { parseTmpfsOptions } from './tmpfs-options.ts';
import { parseVolumeFlag } from './volume-flag.ts';
import { anonymousVolumeName } from './volume-name.ts';
import { mountsFrom } from './volumes-from.ts';

/** The command line's options that concern mounts, as they were given. */
export interface MountOptions {
  readonly volumes: readonly string[];
  readonly mounts: readonly string[];
  readonly tmpfs: readonly string[];
  readonly volumesFrom: readonly string[];
}

/** The options, read but not looked at together. */
export interface MountFlags {
  readonly flags: readonly ReturnType<typeof parseVolumeFlag>[];
  readonly mounts: readonly ReturnType<typeof parseMountFlag>[];
  readonly tmpfs: readonly TmpfsSpec[];
  readonly volumesFrom: readonly string[];
}

/**
 * @param folder what relative sources are relative to
 * @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages
 */
export function parseMountFlags(options: MountOptions, folder: string): MountFlags {
  return {
    flags: options.volumes.map((text) => parseVolumeFlag(text, folder)),
    mounts: options.mounts.map((text) => parseMountFlag(text, folder)),
    tmpfs: options.tmpfs.map(tmpfsSpec),
    volumesFrom: options.volumesFrom,
  };
}

/** The mounts of a container, and how to make the volumes among them that do not exist. */
export interface ResolvedMounts {
  readonly specs: readonly MountSpec[];
  /** By the volume's name. */
  readonly settings: ReadonlyMap<string, VolumeSettings>;
}

/**
 * Merges the options as Docker does: mounts of other containers give way to `-v` and `--mount`, and
 * volumes without a name to everything else.
 * @param imageVolumes `Volumes` of the image
 * @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages
 */
export function mergeMounts(
  options: MountFlags,
  imageVolumes: readonly string[],
  findMounts: (container: string) => readonly MountSpec[],
): ResolvedMounts {
  const byDestination = new Map<string, MountSpec>();
  const settings = new Map<string, VolumeSettings>();
  const { flags, mounts } = options;
  const tmpfs = new Map(options.tmpfs.map((spec) => [spec.destination, spec]));
  for (const text of options.volumesFrom) {
    for (const spec of mountsFrom(text, findMounts)) byDestination.set(spec.destination, spec);
  }
  const given = new Set<string>();
  const add = (spec: MountSpec) => {
    if (given.has(spec.destination) || tmpfs.has(spec.destination)) {
      throw new TsvmError('invalid-container', `Duplicate mount point: ${spec.destination}`);
    }
    given.add(spec.destination);
    byDestination.set(spec.destination, spec);
  };
  for (const spec of flags) if (spec.type !== 'anonymous') add(spec);
  for (const { spec, volume } of mounts) {
    checkSource(spec);
    add(spec);
    if (spec.type === 'volume' && volume !== undefined) settings.set(spec.name, volume);
  }
  for (const spec of tmpfs.values()) byDestination.set(spec.destination, spec);
  for (const flag of flags) {
    if (flag.type !== 'anonymous') continue;
    const { destination } = flag;
    const origin = { option: 'volume', text: destination } as const;
    if (!byDestination.has(destination))
      byDestination.set(destination, anonymous(destination, origin));
  }
  for (const path of imageVolumes) {
    const destination = mountDestination(path.startsWith('/') ? path : `/${path}`, 'volume');
    if (byDestination.has(destination)) continue;
    byDestination.set(destination, anonymous(destination, { option: 'image' }));
  }
  return { specs: [...byDestination.values()], settings };
}

function anonymous(destination: string, origin: MountOrigin): VolumeSpec {
  const name = anonymousVolumeName();
  const rest = { anonymous: true, copyUp: true, subpath: '', readOnly: false, mode: '' };
  return { type: 'volume', name, destination, origin, ...rest };
}

function tmpfsSpec(text: string): TmpfsSpec {
  const colon = text.indexOf(':');
  const path = colon < 0 ? text : text.slice(0, colon);
  const options = colon < 0 ? '' : text.slice(colon + 1);
  const { readOnly } = parseTmpfsOptions(options);
  return {
    type: 'tmpfs',
    destination: mountDestination(path, 'tmpfs'),
    readOnly,
    mode: '',
    origin: { option: 'tmpfs' },
    options,
  };
}

/** `--mount` takes only what exists. */
function checkSource(spec: MountSpec): void {
  if (spec.type !== 'bind' || existsSync(spec.source)) return;
  throw invalidMount('bind', `bind source path does not exist: ${spec.source}`);
}

/** What a bind's source is. */
export type SourceKind = 'folder' | 'file' | 'socket';

/**
 * Follows links.
 * @throws TsvmError `invalid-container` for what a guest cannot share, such as devices; Error of
 * node:fs
 */
export function sourceKind(path: string): SourceKind {
  const stat = statSync(path);
  if (stat.isDirectory()) return 'folder';
  if (stat.isFile()) return 'file';
  if (stat.isSocket()) return 'socket';
  throw invalidMount(
    'bind',
    `${path} is neither a folder, a file nor a unix socket: devices and pipes of the host cannot ` +
      'be shared with a virtual machine',
  );
}
