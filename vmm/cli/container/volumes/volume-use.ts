import type { ContainerStore } from '../../../container/containers/container-store.ts';
import type { VolumeRecord, VolumeStore } from '../../../container/volumes/volume-store.ts';
import { TsvmError } from '../../../errors.ts';
import { openContainers } from '../containers.ts';

/** Volume → IDs of the containers that have it, whether they run or not. */
export async function volumeUses(
  containers: ContainerStore = openContainers(),
): Promise<Map<string, string[]>> {
  const uses = new Map<string, string[]>();
  for (const { config } of await containers.list()) {
    const names = config.mounts.flatMap((mount) => (mount.type === 'volume' ? [mount.name] : []));
    for (const name of new Set(names)) uses.set(name, [...(uses.get(name) ?? []), config.id]);
  }
  return uses;
}

/** @throws TsvmError `volume-not-found`, `volume-conflict` */
export function removeUnused(
  store: VolumeStore,
  { name }: Pick<VolumeRecord, 'name'>,
  uses: ReadonlyMap<string, readonly string[]>,
): void {
  const users = uses.get(name) ?? [];
  if (users.length > 0) {
    throw new TsvmError(
      'volume-conflict',
      `remove ${name}: volume is in use - [${users.join(', ')}]`,
    );
  }
  store.remove(name);
}
