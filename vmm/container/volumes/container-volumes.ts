/** The one place where containers meet volumes: what `-v`, `--mount`, `--tmpfs`, ... mean. */
import { closeSync, openSync, readdirSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { TsvmError } from '../../errors.ts';
import { tryLockFile } from '../../host/file-locks.ts';
import { hostFiles } from '../../host/host-files.ts';
import { makeFolders } from '../../host/make-folders.ts';
import type { MachineConfig } from '../../machine/config.ts';
import { hasCode } from '../../util/error-code.ts';
import type { ContainerMount } from '../agent/agent.ts';
import type { ContainerConfig } from '../containers/container-config.ts';
import type { MachinePart } from '../containers/machine-part.ts';
import { invalidMount } from './destination.ts';
import type { BindSpec, MountSpec, VolumeSpec } from './mount-spec.ts';
import { type MountFlags, mergeMounts, sourceKind } from './resolve-mounts.ts';
import { SocketForwarder } from './socket-forwarder.ts';
import { parseTmpfsOptions } from './tmpfs-options.ts';
import { openVolumeStore, type VolumeStore } from './volume-store.ts';

type Share = NonNullable<MachineConfig['shares']>[number];
type ShareEntry = Extract<Share, { readonly entries: unknown }>['entries'][number];

/** Of the virtio-fs device that has all files and folders of the host. */
const TAG = 'tsvm-mounts';
/** Vsock ports of bound sockets; above those of the agent. */
const FIRST_SOCKET_PORT = 2048;
const LOCK_WAIT_MS = 20;

/**
 * Checks the options, makes the volumes that they name, and resolves paths.
 * @param imageVolumes `Volumes` of the image
 * @param findMounts the mounts of another container, for `--volumes-from`
 * @throws TsvmError `invalid-config`, `invalid-container`, with Docker's messages
 */
export async function resolveMounts(
  options: MountFlags,
  imageVolumes: readonly string[],
  findMounts: (container: string) => readonly MountSpec[],
): Promise<MountSpec[]> {
  const { specs, settings } = mergeMounts(options, imageVolumes, findMounts);
  const store = openVolumeStore();
  try {
    for (const spec of specs) {
      if (spec.type === 'bind') makeSource(spec);
      if (spec.type !== 'volume') continue;
      const { anonymous, name } = spec;
      const { driver = 'local', labels = {}, options: own = {} } = settings.get(name) ?? {};
      checkVolumeDriver(name, driver);
      store.create({ name, anonymous, labels, options: own });
    }
  } catch (error) {
    removeAnonymousVolumes(specs);
    throw error;
  }
  return [...specs];
}

/** @throws TsvmError `invalid-container` with Docker's message */
export function checkVolumeDriver(name: string, driver: string): void {
  if (driver === 'local') return;
  throw new TsvmError(
    'invalid-container',
    `create ${name}: error looking up volume plugin ${driver}: plugin "${driver}" not found`,
  );
}

function makeSource({ createSource, source }: BindSpec): void {
  if (createSource) {
    try {
      makeFolders(source);
    } catch (cause) {
      if (!hasCode(cause, 'EEXIST')) throw sourceError(source, cause);
    }
  }
  try {
    sourceKind(source);
  } catch (cause) {
    throw cause instanceof TsvmError ? cause : sourceError(source, cause);
  }
}

function sourceError(source: string, cause: unknown): TsvmError {
  if (hasCode(cause, 'ENOENT')) {
    return invalidMount('bind', `bind source path does not exist: ${source}`);
  }
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TsvmError(
    'invalid-container',
    `error while creating mount source path '${source}': ${reason}`,
    { cause },
  );
}

/** Removes the volumes of a container that have no name of the user's: `rm -v`, `--rm`. */
export function removeAnonymousVolumes(mounts: readonly MountSpec[]): void {
  const store = openVolumeStore();
  for (const mount of mounts) {
    if (mount.type !== 'volume' || !mount.anonymous || mount.origin.option === 'volumes-from') {
      continue;
    }
    if (store.read(mount.name) !== undefined) store.remove(mount.name);
  }
}

/** Docker's `Mounts` of `inspect`. */
export function mountPoints(mounts: readonly MountSpec[]): object[] {
  const store = openVolumeStore();
  return mounts
    .filter(({ origin }) => origin.option !== 'tmpfs')
    .map((mount) => {
      const { destination, mode, readOnly } = mount;
      const rest = { Destination: destination, Mode: mode, RW: !readOnly };
      if (mount.type === 'tmpfs') return { Type: 'tmpfs', Source: '', ...rest, Propagation: '' };
      if (mount.type === 'bind') {
        return { Type: 'bind', Source: mount.source, ...rest, Propagation: mount.propagation };
      }
      const { name } = mount;
      const source = store.dataPath(store.read(name) ?? { name, options: {} });
      const shownMode = mode === '' && mount.origin.option === 'volume' ? 'z' : mode;
      return {
        ...{ Type: 'volume', Name: name, Source: source, Destination: destination },
        ...{ Driver: 'local', Mode: shownMode, RW: !readOnly, Propagation: '' },
      };
    });
}

/** Prepares the mounts of a container that starts. */
export async function prepareVolumes({
  mounts: specs,
}: Pick<ContainerConfig, 'mounts'>): Promise<MachinePart> {
  const store = openVolumeStore();
  const mounts: ContainerMount[] = [];
  const entries: ShareEntry[] = [];
  const sockets: SocketForwarder[] = [];
  const locks: number[] = [];
  const filled = new Set<string>();
  const release = async () => {
    for (const fd of locks.splice(0)) closeSync(fd);
    for (const socket of sockets.splice(0)) socket.close();
  };
  const share = (path: string, { destination, readOnly }: MountSpec) => {
    const name = String(entries.length);
    entries.push({ name, path, readOnly });
    return { type: 'share', tag: TAG, source: name, destination, readOnly } as const;
  };
  try {
    for (const spec of specs) {
      const { destination, readOnly } = spec;
      if (spec.type === 'tmpfs') {
        const settings = parseTmpfsOptions(spec.options);
        mounts.push({ type: 'tmpfs', destination, ...settings, readOnly });
      } else if (spec.type === 'volume') {
        const path = store.dataPath(store.find(spec.name));
        const mount = share(path, spec);
        // The first of several mounts of one volume fills it.
        const mayFill = spec.copyUp && !filled.has(spec.name);
        const lock = mayFill ? await lockEmptyVolume(store, spec, path) : undefined;
        if (lock !== undefined) {
          locks.push(lock);
          filled.add(spec.name);
        }
        const source = spec.subpath === '' ? mount.source : `${mount.source}/${spec.subpath}`;
        mounts.push({ ...mount, source, copyUp: lock !== undefined });
      } else {
        makeSource(spec);
        if (sourceKind(spec.source) === 'socket') {
          const port = FIRST_SOCKET_PORT + sockets.length;
          sockets.push(new SocketForwarder(spec.source, port));
          const { gid, mode, uid } = statSync(spec.source);
          const owner = { mode: mode & 0o777, userId: uid, groupId: gid };
          mounts.push({ type: 'socket', destination, port, ...owner });
        } else {
          mounts.push(share(spec.source, spec));
        }
      }
    }
  } catch (error) {
    await release();
    throw error;
  }
  return {
    mounts,
    ...(entries.length > 0 && { shares: [{ tag: TAG, entries }] }),
    started: (machine) => {
      for (const socket of sockets) socket.listen(machine);
    },
    assembled: () => {
      for (const fd of locks.splice(0)) closeSync(fd);
    },
    release,
  };
}

/**
 * An empty volume is filled from the image by one container; others that start at the same time wait.
 * @returns the open lock file; undefined if there is something in the volume
 */
async function lockEmptyVolume(
  store: VolumeStore,
  { name, subpath }: VolumeSpec,
  path: string,
): Promise<number | undefined> {
  if (subpath !== '' || readdirSync(path).length > 0) return undefined;
  const fd = openSync(store.lockPath(name), 'a+');
  try {
    while (!tryLockFile(hostFiles(), fd, true, 0, 0)) await sleep(LOCK_WAIT_MS);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  if (readdirSync(path).length === 0) return fd;
  closeSync(fd);
  return undefined;
}
