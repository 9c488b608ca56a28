import { TsvmError } from '../../../../../errors.ts';
import { assertDeviceHolds } from '../../../file/device-size.ts';
import { L1_BYTES_MAX } from '../header/layout.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import type { FlushDriver } from '../tables/flush-driver.ts';
import type { ImageReader } from './image-reader.ts';
import { L1_ENTRY_BYTES, L1Table } from './l1-table.ts';
import type { Zeroing } from './zeroing.ts';

/** The parts of an image that a resize works with. */
export interface ResizedImage {
  readonly metadata: ImageMetadata;
  readonly reader: ImageReader;
  readonly zeroing: Zeroing;
  readonly flushes: FlushDriver;
  /** Size of the backing image, 0 without one. */
  readonly backingBytes: number;
}

/**
 * Changes the image's size, durably. New parts read as zeroes.
 * @throws TsvmError `invalid-config` for an impossible size, `disk-io`
 */
export function resizeImage(image: ResizedImage, sizeBytes: number): void {
  const { metadata } = image;
  const { file, geometry, header } = metadata;
  const oldSize = header.current.sizeBytes;
  const entries = Math.ceil(sizeBytes / geometry.tableSpanBytes);
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || sizeBytes % 512 !== 0) {
    throw new TsvmError('invalid-config', `an image's size is a multiple of 512, not ${sizeBytes}`);
  }
  if (entries * L1_ENTRY_BYTES > L1_BYTES_MAX) {
    throw new TsvmError(
      'invalid-config',
      `${file.path} cannot have ${sizeBytes} bytes with clusters of ${geometry.clusterBytes}`,
    );
  }
  if (header.current.snapshotCount > 0 && geometry.version < 3) {
    throw new TsvmError(
      'invalid-config',
      `${file.path} has snapshots, and version 2 does not keep their sizes: delete them first`,
    );
  }
  if (sizeBytes > oldSize) grow(image, sizeBytes, entries);
  else if (sizeBytes < oldSize) shrink(image, sizeBytes, entries);
}

function grow(image: ResizedImage, sizeBytes: number, entries: number): void {
  const { metadata, reader, zeroing, flushes, backingBytes } = image;
  const { dataFile, geometry, header, l1 } = metadata;
  const oldSize = header.current.sizeBytes;
  if (geometry.externalData) assertDeviceHolds(dataFile, sizeBytes);
  if (entries > l1.entries) moveL1(metadata, entries, flushes);
  if (geometry.rawExternalData && dataFile.sizeBytes() < sizeBytes && !dataFile.isBlockDevice) {
    dataFile.truncateSync(sizeBytes);
    dataFile.datasyncSync();
  }
  // The rest of the last cluster may contain anything, and so may the backing image.
  const clusterEnd = Math.ceil(oldSize / geometry.clusterBytes) * geometry.clusterBytes;
  const zeroEnd = backingBytes > oldSize ? sizeBytes : Math.min(clusterEnd, sizeBytes);
  header.enlarge(sizeBytes, () => {
    const length = zeroEnd - oldSize;
    if (length > 0 && !reader.readsAsZero(oldSize, length)) {
      zeroing.writeZeroes(oldSize, length, true);
    }
    flushes.sync();
  });
}

function shrink(image: ResizedImage, sizeBytes: number, entries: number): void {
  const { metadata, zeroing, flushes } = image;
  const { allocator, dataFile, file, geometry, header, l1, l2 } = metadata;
  const { clusterBytes } = geometry;
  const firstGone = Math.ceil(sizeBytes / clusterBytes) * clusterBytes;
  const oldEnd = Math.ceil(header.current.sizeBytes / clusterBytes) * clusterBytes;
  if (oldEnd > firstGone) zeroing.deallocate(firstGone, oldEnd - firstGone);
  for (let index = entries; index < Math.ceil(oldEnd / geometry.tableSpanBytes); index++) {
    l2.drop(index);
  }
  flushes.sync();
  const l1Clusters = Math.ceil((l1.entries * L1_ENTRY_BYTES) / clusterBytes);
  // Entries beyond the size map the VM state of snapshots, which stays where it is.
  const cut = header.current.snapshotCount === 0 && isEmptyFrom(l1, entries);
  header.update(cut ? { sizeBytes, l1Entries: entries } : { sizeBytes });
  if (cut) {
    metadata.replaceL1(new L1Table(l1.fileOffset, l1.bytes.slice(0, entries * L1_ENTRY_BYTES)));
    const kept = Math.ceil((entries * L1_ENTRY_BYTES) / clusterBytes);
    if (kept < l1Clusters) {
      allocator.free(l1.fileOffset / clusterBytes + kept, l1Clusters - kept);
      flushes.sync();
    }
  }
  if (geometry.externalData) {
    if (!dataFile.isBlockDevice && dataFile.sizeBytes() > sizeBytes) {
      dataFile.truncateSync(sizeBytes);
    }
  }
  if (!file.isBlockDevice) truncateFile(metadata, flushes);
}

function isEmptyFrom(l1: L1Table, first: number): boolean {
  for (let index = first; index < l1.entries; index++) {
    if (l1.l2Offset(index) !== 0) return false;
  }
  return true;
}

/**
 * Moves the L1 table to a place with more entries: the new one is durable before the header refers
 * to it, and the old one becomes free afterwards.
 */
function moveL1(metadata: ImageMetadata, entries: number, flushes: FlushDriver): void {
  const { allocator, file, geometry, header, l1 } = metadata;
  const { clusterBytes } = geometry;
  const clusters = Math.ceil((entries * L1_ENTRY_BYTES) / clusterBytes);
  const oldClusters = Math.ceil((l1.entries * L1_ENTRY_BYTES) / clusterBytes);
  const run = allocator.allocateContiguous(clusters);
  const offset = run.first * clusterBytes;
  // All of its clusters, so that nothing stale follows it.
  const bytes = new Uint8Array(clusters * clusterBytes);
  bytes.set(l1.bytes);
  metadata.changeStructure(() => {
    file.writeSync(offset, bytes);
    flushes.sync();
    header.update({ l1Offset: offset, l1Entries: entries });
    const moved = new L1Table(offset, bytes.subarray(0, entries * L1_ENTRY_BYTES));
    metadata.replaceL1(moved);
    if (oldClusters > 0) allocator.free(l1.fileOffset / clusterBytes, oldClusters);
  });
}

/** Truncates the file after its last used cluster; refcount blocks that became empty go as well. */
function truncateFile(metadata: ImageMetadata, flushes: FlushDriver): void {
  const { allocator, file, geometry, refcounts } = metadata;
  const { clusterBytes } = geometry;
  metadata.withRefcounts(() => {
    // A block's own refcount may be in another block, which becomes empty when the first is gone.
    while (dropLastBlocks(metadata)) flushes.sync();
    let end = Math.ceil(allocator.endOffset / clusterBytes);
    while (end > 1 && refcounts.get(end - 1) === 0) end--;
    if (file.sizeBytes() > end * clusterBytes) file.truncateSync(end * clusterBytes);
    allocator.cutAt(end);
    flushes.sync();
  });
}

/** Drops empty refcount blocks from the end; returns whether there was one. */
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
