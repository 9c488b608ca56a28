import type { JoinedDiskConfig } from '../../machine/config.ts';
import type { Digest } from '../digest.ts';
import type { StoreFolders } from '../store/folders.ts';
import { rootfsKey } from './rootfs-key.ts';

/**
 * The root file system of an image as a machine's disk: its metadata image, then its layers. Whoever
 * boots from it keeps the store's content in use, or the files may be removed before they are open.
 * @param diffIds the lowest layer first; the store has them, and their metadata image
 */
export function rootfsDisk(diffIds: readonly Digest[], folders: StoreFolders): JoinedDiskConfig {
  const metadata = folders.metadataImage(rootfsKey(diffIds));
  return { files: [metadata, ...diffIds.map((diffId) => folders.layer(diffId))] };
}
