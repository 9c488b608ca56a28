import { TsvmError } from '../../../../../errors.ts';
import { assertDeviceHolds } from '../../../file/device-size.ts';
import { L1_BYTES_MAX } from '../header/layout.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import { cutFile } from './file-cut.ts';
import { L1_ENTRY_BYTES, L1Table } from './l1-table.ts';

/** What a resize needs of the image that the tables do not do. */
export interface ResizeSteps {
  flush(): void;
  /** Makes a range read as zeroes. */
  clear(offset: number, length: number): void;
  /** Makes whole clusters unallocated. */
  forget(offset: number, length: number): void;
  /** Size of the backing image, 0 without one. */
  readonly backingBytes: number;
}

/**
 * Changes what a guest sees of the image's size, durably.
 * @throws TsvmError `invalid-config` for a size that cannot be, `disk-io`
 */
export function resizeImage(metadata: ImageMetadata, sizeBytes: number, steps: ResizeSteps): void {
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
  if (sizeBytes > oldSize) grow(metadata, sizeBytes, entries, steps);
  else if (sizeBytes < oldSize) shrink(metadata, sizeBytes, entries, steps);
}

function grow(
  metadata: ImageMetadata,
  sizeBytes: number,
  entries: number,
  steps: ResizeSteps,
): void {
  const { dataFile, geometry, header, l1 } = metadata;
  const oldSize = header.current.sizeBytes;
  if (geometry.externalData) assertDeviceHolds(dataFile, sizeBytes);
  if (entries > l1.entries) moveL1(metadata, entries, steps);
  if (geometry.rawExternalData && dataFile.sizeBytes() < sizeBytes && !dataFile.isBlockDevice) {
    dataFile.truncateSync(sizeBytes);
    dataFile.datasyncSync();
  }
  // The last cluster may have had anything behind the end, and so may the backing image.
  const clusterEnd = Math.ceil(oldSize / geometry.clusterBytes) * geometry.clusterBytes;
  const zeroEnd = steps.backingBytes > oldSize ? sizeBytes : Math.min(clusterEnd, sizeBytes);
  header.enlarge(sizeBytes, () => {
    if (zeroEnd > oldSize) steps.clear(oldSize, zeroEnd - oldSize);
    steps.flush();
  });
}

function shrink(
  metadata: ImageMetadata,
  sizeBytes: number,
  entries: number,
  steps: ResizeSteps,
): void {
  const { allocator, dataFile, file, geometry, header, l1, l2 } = metadata;
  const { clusterBytes } = geometry;
  const firstGone = Math.ceil(sizeBytes / clusterBytes) * clusterBytes;
  const oldEnd = Math.ceil(header.current.sizeBytes / clusterBytes) * clusterBytes;
  if (oldEnd > firstGone) steps.forget(firstGone, oldEnd - firstGone);
  for (let index = entries; index < Math.ceil(oldEnd / geometry.tableSpanBytes); index++) {
    l2.drop(index);
  }
  steps.flush();
  const l1Clusters = Math.ceil((l1.entries * L1_ENTRY_BYTES) / clusterBytes);
  // More entries than the size needs map the VM state of snapshots, which stays where it is.
  const cut = header.current.snapshotCount === 0 && isEmptyFrom(l1, entries);
  header.update(cut ? { sizeBytes, l1Entries: entries } : { sizeBytes });
  if (cut) {
    metadata.replaceL1(new L1Table(l1.fileOffset, l1.bytes.slice(0, entries * L1_ENTRY_BYTES)));
    const kept = Math.ceil((entries * L1_ENTRY_BYTES) / clusterBytes);
    if (kept < l1Clusters) {
      allocator.free(l1.fileOffset / clusterBytes + kept, l1Clusters - kept);
      steps.flush();
    }
  }
  if (geometry.externalData) {
    if (!dataFile.isBlockDevice && dataFile.sizeBytes() > sizeBytes) {
      dataFile.truncateSync(sizeBytes);
    }
  }
  if (!file.isBlockDevice) cutFile(metadata, () => steps.flush());
}

function isEmptyFrom(l1: L1Table, first: number): boolean {
  for (let index = first; index < l1.entries; index++) {
    if (l1.l2Offset(index) !== 0) return false;
  }
  return true;
}

/**
 * Gives the L1 table more entries, elsewhere: the new one is durable before the header names it, and
 * the old one becomes free after that.
 */
function moveL1(metadata: ImageMetadata, entries: number, steps: ResizeSteps): void {
  const { allocator, file, geometry, header, l1 } = metadata;
  const { clusterBytes } = geometry;
  const clusters = Math.ceil((entries * L1_ENTRY_BYTES) / clusterBytes);
  const oldClusters = Math.ceil((l1.entries * L1_ENTRY_BYTES) / clusterBytes);
  const run = allocator.allocateContiguous(clusters);
  const offset = run.first * clusterBytes;
  // The whole of its clusters, so that nothing stale is behind it.
  const bytes = new Uint8Array(clusters * clusterBytes);
  bytes.set(l1.bytes);
  metadata.changeStructure(() => {
    file.writeSync(offset, bytes);
    steps.flush();
    header.update({ l1Offset: offset, l1Entries: entries });
    const moved = new L1Table(offset, bytes.subarray(0, entries * L1_ENTRY_BYTES));
    metadata.replaceL1(moved);
    if (oldClusters > 0) allocator.free(l1.fileOffset / clusterBytes, oldClusters);
  });
}
