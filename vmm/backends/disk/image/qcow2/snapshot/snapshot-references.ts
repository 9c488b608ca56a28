/** References from an L1 table of an open image, active or of a snapshot. */
import { TsvmError } from '../../../../../errors.ts';
import { ClusterCounts } from '../check/cluster-counts.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import { L1_ENTRY_BYTES } from '../map/l1-table.ts';
import { compressedSpan, EntryKind, entryKind, hostOffset } from '../map/l2-entry.ts';

/**
 * Counts the references from an L1 table: its L2 tables and what those refer to, but not the
 * clusters of the L1 table itself. The image must be flushed, since its file is read.
 *
 * @throws TsvmError `invalid-disk` when something is at an impossible place: then nothing should be
 * changed
 */
export function countL1References(metadata: ImageMetadata, l1: DataView): ClusterCounts {
  const { file, geometry } = metadata;
  const counts = new ClusterCounts();
  const bytes = new Uint8Array(geometry.clusterBytes);
  const table = new DataView(bytes.buffer);
  for (let at = 0; at < l1.byteLength; at += L1_ENTRY_BYTES) {
    const offset = hostOffset(l1.getUint32(at), l1.getUint32(at + 4));
    if (offset === 0) continue;
    const cluster = clusterAt(metadata, offset, `L1 table entry ${at / L1_ENTRY_BYTES}`);
    if (counts.get(cluster) > 0) {
      throw invalid(metadata, `the L2 table at ${offset} overlaps something else`);
    }
    counts.add(cluster, 1);
    file.readSync(offset, bytes);
    countTable(metadata, table, offset, counts);
  }
  return counts;
}

function countTable(
  metadata: ImageMetadata,
  table: DataView,
  tableOffset: number,
  counts: ClusterCounts,
): void {
  const { allocator, geometry } = metadata;
  const { clusterBytes, l2EntryBytes } = geometry;
  for (let at = 0; at < table.byteLength; at += l2EntryBytes) {
    const high = table.getUint32(at);
    const low = table.getUint32(at + 4);
    const kind = entryKind(high, low, geometry);
    if (kind === EntryKind.STANDARD || kind === EntryKind.ZERO_ALLOCATED) {
      const what = `entry ${at / l2EntryBytes} of the L2 table at ${tableOffset}`;
      counts.add(clusterAt(metadata, hostOffset(high, low), what), 1);
    } else if (kind === EntryKind.COMPRESSED) {
      const span = compressedSpan(high, low, geometry);
      const first = Math.floor(span.offset / clusterBytes);
      const last = Math.floor((span.offset + span.length - 1) / clusterBytes);
      if (span.offset >= allocator.endOffset) {
        throw invalid(metadata, `a compressed cluster at ${span.offset} is past the file's end`);
      }
      // The last sector may be incomplete, or past the file's end.
      for (let cluster = first; cluster <= last; cluster++) counts.add(cluster, 1);
    }
  }
}

/**
 * @throws TsvmError `invalid-config` when the image's refcounts are too narrow for one more snapshot
 */
export function assertRoomFor(metadata: ImageMetadata, references: ClusterCounts): void {
  const { file, geometry, refcounts } = metadata;
  references.forEach((cluster, count) => {
    if (refcounts.get(cluster) + count <= refcounts.max) return;
    throw new TsvmError(
      'invalid-config',
      `${file.path}: refcounts of ${geometry.refcountBits} bits are too narrow for another ` +
        'snapshot; copy the image with "tsvm image convert -o refcount_bits=64"',
    );
  });
}

export function addReferences(metadata: ImageMetadata, references: ClusterCounts): void {
  references.forEach((cluster, count) => {
    metadata.refcounts.add(cluster, count);
  });
}

/**
 * Drops references that the file does not have any more; clusters become free where nothing else
 * refers to them.
 */
export function dropReferences(metadata: ImageMetadata, references: ClusterCounts): void {
  references.forEach((cluster, count) => {
    for (let time = 0; time < count; time++) metadata.allocator.free(cluster, 1);
  });
}

function clusterAt(metadata: ImageMetadata, offset: number, what: string): number {
  const { allocator, geometry } = metadata;
  if (offset % geometry.clusterBytes !== 0 || offset >= allocator.endOffset) {
    throw invalid(metadata, `${what} points to ${offset}, where no cluster can be`);
  }
  return offset / geometry.clusterBytes;
}

function invalid(metadata: ImageMetadata, what: string): TsvmError {
  const { path } = metadata.file;
  return new TsvmError('invalid-disk', `${path}: ${what}; see "tsvm image check ${path}"`);
}
