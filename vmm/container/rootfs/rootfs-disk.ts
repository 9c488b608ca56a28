import type { JoinedDiskConfig } from '../../machine/config.ts';
import type { Digest } from '../digest.ts';
import type { StoreFolders } from '../store/folders.ts';
import { rootfsKey } from './rootfs-key.ts';

/**
 * The root file system of an image as a machine's disk: its metadata image, followed by its layers.
 * Hold the store's content lock until the machine has opened the files, or they may be removed.
 * @param diffIds layers in the store, from the lowest to the highest, with a metadata image
 */
export function rootfsDisk(diffIds: readonly Digest[], folders: StoreFolders): JoinedDiskConfig {
  const metadata = folders.metadataImage(rootfsKey(diffIds));
  return { files: [metadata, ...diffIds.map((diffId) => folders.layer(diffId))] };
}
