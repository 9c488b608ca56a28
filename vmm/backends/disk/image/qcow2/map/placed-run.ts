import { TsvmError } from '../../../../../errors.ts';
import type { ImageRun, RunKind } from '../../image.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import type { CachedTable } from '../tables/table-cache.ts';

/** A run without a place. */
export function plainRun(kind: RunKind, length: number): ImageRun {
  return { kind, length, file: undefined, fileOffset: 0, writable: false };
}

/**
 * A run that has a place in the data file, cut at the end of a block device: past that nothing can
 * be written.
 * @param owned nothing else refers to the host clusters
 */
export function placedRun(
  metadata: ImageMetadata,
  kind: 'data' | 'zero',
  length: number,
  fileOffset: number,
  owned: boolean,
): ImageRun {
  const { dataFile } = metadata;
  const room = dataFile.isBlockDevice ? dataFile.sizeBytes() - fileOffset : length;
  const there = room > 0 ? Math.min(length, room) : length;
  const writable =
    kind === 'data' &&
    owned &&
    !metadata.readOnly &&
    room > 0 &&
    isSafelyWritable(metadata, fileOffset, there);
  return { kind, length: there, file: dataFile, fileOffset, writable };
}

/** @throws TsvmError `invalid-disk` when an entry's host cluster cannot hold guest data */
export function checkHostCluster(
  metadata: ImageMetadata,
  host: number,
  table: CachedTable,
  index: number,
): void {
  const { allocator, file, geometry } = metadata;
  const { clusterBytes } = geometry;
  const possible = geometry.externalData
    ? host === table.index * geometry.tableSpanBytes + index * clusterBytes
    : host % clusterBytes === 0 && host >= clusterBytes && host < allocator.endOffset;
  if (possible) return;
  throw new TsvmError(
    'invalid-disk',
    `${file.path}: entry ${index} of L2 table ${table.index} points to ${host}, where no guest ` +
      'cluster can be',
  );
}

/** It can be written in place, without changing the header first and without hitting metadata. */
function isSafelyWritable(metadata: ImageMetadata, fileOffset: number, length: number): boolean {
  if (metadata.header.hasAutoclear) return false;
  return metadata.geometry.externalData || !metadata.overlapsMetadata(fileOffset, length);
}
