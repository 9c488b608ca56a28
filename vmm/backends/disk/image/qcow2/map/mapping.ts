import { TsvmError } from '../../../../../errors.ts';
import type { ImageRun } from '../../image.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import type { CachedTable } from '../tables/table-cache.ts';
import { EntryKind, entryKind, hostOffset, isCopied } from './l2-entry.ts';
import { checkHostCluster, placedRun, plainRun } from './placed-run.ts';
import { mapSubclusters } from './subcluster-mapping.ts';

/** A carry out of an entry's low word. */
const WORD = 2 ** 32;

/**
 * The run that begins at `offset`: L1 table, L2 table, entry. It ends at the latest with the L2
 * table's range, except that adjoining L1 entries without a table are one run.
 * @throws TsvmError `invalid-disk` naming the invalid entry
 */
export function mapRun(metadata: ImageMetadata, offset: number, length: number): ImageRun {
  const { geometry, l1, l2 } = metadata;
  const span = geometry.tableSpanBytes;
  const l1Index = Math.floor(offset / span);
  const table = l2.get(l1Index);
  if (table === undefined) {
    let end = l1Index + 1;
    while (end * span < offset + length && (end >= l1.entries || l1.l2Offset(end) === 0)) end++;
    return plainRun('unallocated', Math.min(length, end * span - offset));
  }
  const limit = Math.min(length, (l1Index + 1) * span - offset);
  return geometry.extendedL2
    ? mapSubclusters(metadata, table, offset, limit)
    : mapClusters(metadata, table, offset, limit);
}

/**
 * Standard entries: consecutive clusters of one kind that adjoin in the file, if they have a place.
 */
function mapClusters(
  metadata: ImageMetadata,
  table: CachedTable,
  offset: number,
  limit: number,
): ImageRun {
  const { geometry } = metadata;
  const { clusterBytes } = geometry;
  const { view } = table;
  const index = Math.floor((offset % geometry.tableSpanBytes) / clusterBytes);
  const into = offset % clusterBytes;
  const high = view.getUint32(index * 8);
  const low = view.getUint32(index * 8 + 4);
  const kind = entryKind(high, low, geometry);
  if (kind === EntryKind.COMPRESSED) {
    return plainRun('compressed', Math.min(limit, clusterBytes - into));
  }
  checkVersion(metadata, kind, table, index);

  const placed = kind === EntryKind.STANDARD || kind === EntryKind.ZERO_ALLOCATED;
  const host = hostOffset(high, low);
  if (placed) checkHostCluster(metadata, host, table, index);
  const step = placed ? clusterBytes : 0;
  const hostEnd =
    geometry.externalData || !placed ? Number.POSITIVE_INFINITY : metadata.allocator.endOffset;
  const end = Math.min(limit, hostEnd - host - into);
  let covered = clusterBytes - into;
  // Few operations per entry: thousands are visited before this is compiled.
  let nextHigh = high;
  let nextLow = low;
  for (let at = (index + 1) * 8; covered < end; at += 8) {
    nextLow += step;
    if (nextLow >= WORD) {
      nextLow -= WORD;
      nextHigh++;
    }
    if (view.getUint32(at + 4) !== nextLow || view.getUint32(at) !== nextHigh) break;
    covered += clusterBytes;
  }
  const length = Math.min(covered, limit);
  if (!placed) return plainRun(kind === EntryKind.ZERO_PLAIN ? 'zero' : 'unallocated', length);
  const runKind = kind === EntryKind.STANDARD ? 'data' : 'zero';
  return placedRun(metadata, runKind, length, host + into, isCopied(high));
}

/** "With version 2, this [bit 0] is always 0." */
function checkVersion(
  metadata: ImageMetadata,
  kind: EntryKind,
  table: CachedTable,
  index: number,
): void {
  if (metadata.geometry.version >= 3) return;
  if (kind !== EntryKind.ZERO_PLAIN && kind !== EntryKind.ZERO_ALLOCATED) return;
  throw new TsvmError(
    'invalid-disk',
    `${metadata.file.path}: entry ${index} of L2 table ${table.index} is a zero cluster, which ` +
      'version 2 does not have',
  );
}
