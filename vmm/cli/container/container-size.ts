import { statSync } from 'node:fs';
import type { ContainerStore } from '../../container/containers/container-store.ts';

const BLOCK_BYTES = 512;

/** What a container's writable layer takes on the host's disk. */
export function allocatedBytes({ folders }: ContainerStore, id: string): number {
  const stats = statSync(folders.writable(id), { throwIfNoEntry: false });
  return (stats?.blocks ?? 0) * BLOCK_BYTES;
}
