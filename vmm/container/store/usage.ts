import { type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageStore } from './image-store.ts';
import { contentFiles, namesIn, neededBy } from './sweep.ts';

/** Disk usage of a store in bytes. */
export interface StoreUsage {
  readonly imageBytes: number;
  /** Of content that no image needs, and of temporary files. */
  readonly leftoverBytes: number;
  readonly leftoverFiles: number;
}

export function storeUsage({ catalog, content, folders, uses }: ImageStore): StoreUsage {
  const roots = uses().map(({ layers }) => layers);
  const needed = neededBy(catalog.read(), content, roots);
  const seen = new Set<number>();
  let imageBytes = 0;
  let leftoverBytes = 0;
  let leftoverFiles = 0;
  const count = (path: string, isNeeded: boolean): void => {
    const stats = statSync(path, { throwIfNoEntry: false });
    // A plain layer has two names, and takes its space once.
    if (stats === undefined || seen.has(stats.ino)) return;
    seen.add(stats.ino);
    if (isNeeded) imageBytes += allocatedBytes(stats);
    else {
      leftoverBytes += allocatedBytes(stats);
      leftoverFiles++;
    }
  };
  for (const { digest, path } of contentFiles(folders.layers)) {
    count(path, needed.layers.has(digest));
  }
  for (const { digest, path } of contentFiles(folders.blobs)) {
    count(path, needed.blobs.has(digest));
  }
  for (const name of namesIn(folders.rootfs)) {
    count(join(folders.rootfs, name), needed.rootfs.has(name.replace(/\.erofs$/, '')));
  }
  for (const name of namesIn(folders.temporary)) count(join(folders.temporary, name), false);
  return { imageBytes, leftoverBytes, leftoverFiles };
}

function allocatedBytes({ blocks }: Stats): number {
  return blocks * 512;
}
