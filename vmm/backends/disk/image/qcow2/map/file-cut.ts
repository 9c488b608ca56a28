import type { ImageMetadata } from '../image-metadata.ts';

/**
 * Cuts off what is free at the end of an image's file, with refcount blocks that have nothing to
 * count any more.
 */
export function cutFile(metadata: ImageMetadata, flush: () => void): void {
  const { allocator, file, geometry, refcounts } = metadata;
  const { clusterBytes } = geometry;
  metadata.wantsRefcounts = true;
  // A block's own refcount may be in another one, which is empty only when that is gone.
  while (dropLastBlocks(metadata)) flush();
  let end = Math.ceil(allocator.endOffset / clusterBytes);
  while (end > 1 && refcounts.get(end - 1) === 0) end--;
  if (file.sizeBytes() > end * clusterBytes) file.truncateSync(end * clusterBytes);
  allocator.cutAt(end);
  flush();
  metadata.wantsRefcounts = false;
}

/** Drops the last refcount blocks as far as they are empty; answers whether there was one. */
function dropLastBlocks(metadata: ImageMetadata): boolean {
  const { allocator, geometry, refcounts } = metadata;
  let dropped = false;
  for (let index = refcounts.tableEntries - 1; index > 0; index--) {
    if (!refcounts.hasBlock(index)) continue;
    if (!refcounts.countsOnlyItself(index)) break;
    const cluster = refcounts.blockOffset(index) / geometry.clusterBytes;
    refcounts.dropBlock(index);
    metadata.metadataClusters().remove(cluster, 1);
    if (refcounts.blockOf(cluster) !== index) allocator.free(cluster, 1);
    dropped = true;
  }
  return dropped;
}
