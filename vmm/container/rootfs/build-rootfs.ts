import { closeSync, fstatSync, ftruncateSync, openSync } from 'node:fs';
import type { Digest } from '../digest.ts';
import type { LayerRecord } from '../store/catalog.ts';
import type { StoreFolders } from '../store/folders.ts';
import { NewContent } from '../store/new-content.ts';
import { readTar } from '../tar/reader.ts';
import { MergedTree } from './merged-tree.ts';
import { type LayerArchive, type MetadataImage, writeMetadataImage } from './metadata-image.ts';
import { rootfsKey } from './rootfs-key.ts';

/**
 * Creates the metadata image for layers in the store, given from the lowest to the highest. It replaces
 * an existing one.
 * @returns statistics of the layers
 * @throws TsvmError `invalid-image` when a layer is malformed, `store-failed`
 */
export async function buildRootfs(
  diffIds: readonly Digest[],
  folders: StoreFolders,
): Promise<LayerRecord[]> {
  const key = rootfsKey(diffIds);
  const output = await NewContent.create(folders.temporary);
  try {
    const paths = diffIds.map((diffId) => folders.layer(diffId));
    const { layerBytes } = writeRootfs(paths, output.fd, Buffer.from(key, 'hex'), 'referred');
    await output.appear(folders.metadataImage(key));
    return diffIds.map((diffId, index) => ({ diffId, sizeBytes: layerBytes[index] ?? 0 }));
  } finally {
    await output.discard();
  }
}

/**
 * Merges layers and writes their metadata image.
 * @param paths uncompressed tar archives, from the lowest to the highest
 * @param fd open for writing and empty
 * @param data as in {@link writeMetadataImage}
 */
export function writeRootfs(
  paths: readonly string[],
  fd: number,
  uuid: Uint8Array,
  data: 'referred' | 'copied',
): MetadataImage & { readonly layerBytes: readonly number[] } {
  const archives: LayerArchive[] = [];
  try {
    const tree = new MergedTree();
    const layerBytes = paths.map((path, layer) => {
      const archive = openArchive(path);
      archives.push(archive);
      return tree.apply(readTar(archive.fd), layer);
    });
    const image = writeMetadataImage(tree.root, archives, fd, { data, uuid });
    ftruncateSync(fd, image.sizeBytes);
    return { ...image, layerBytes };
  } finally {
    for (const archive of archives) closeSync(archive.fd);
  }
}

function openArchive(path: string): LayerArchive {
  const fd = openSync(path, 'r');
  return { fd, sizeBytes: fstatSync(fd).size };
}
