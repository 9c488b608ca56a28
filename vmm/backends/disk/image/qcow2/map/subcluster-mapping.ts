import { TsvmError } from '../../../../../errors.ts';
import type { ImageRun, RunKind } from '../../image.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import type { CachedTable } from '../tables/table-cache.ts';
import { EntryKind, entryKind, hostOffset, isCopied } from './l2-entry.ts';
import { checkHostCluster, placedRun, plainRun } from './placed-run.ts';

/** Byte offsets in an extended L2 entry. */
export const ZERO_BITS = 8;
export const ALLOCATED_BITS = 12;

/**
 * Extended L2 entries: consecutive sub-clusters of one kind that adjoin in the file, if they have a
 * place. "Subcluster Allocation Bitmap (for standard clusters)".
 */
export function mapSubclusters(
  metadata: ImageMetadata,
  table: CachedTable,
  offset: number,
  limit: number,
): ImageRun {
  const { geometry } = metadata;
  const { clusterBytes, subclusterBytes, subclusters } = geometry;
  const { view } = table;
  let index = Math.floor((offset % geometry.tableSpanBytes) / clusterBytes);
  let sub = Math.floor((offset % clusterBytes) / subclusterBytes);
  let entry = readEntry(metadata, table, index);
  if (entry.compressed) {
    return plainRun('compressed', Math.min(limit, clusterBytes - (offset % clusterBytes)));
  }
  const kind = subclusterKind(entry, sub);
  const { placed, owned, host } = entry;
  const hasPlace = placed && kind !== 'unallocated';
  let covered = 0;
  let expected = host;
  for (;;) {
    while (sub < subclusters && subclusterKind(entry, sub) === kind) {
      covered += subclusterBytes;
      sub++;
    }
    if (sub < subclusters || covered - (offset % subclusterBytes) >= limit) break;
    index++;
    sub = 0;
    expected += clusterBytes;
    if (index * 16 >= view.byteLength) break;
    entry = readEntry(metadata, table, index);
    if (entry.compressed || subclusterKind(entry, 0) !== kind) break;
    if (kind === 'unallocated') continue;
    if (entry.placed !== placed || entry.owned !== owned) break;
    if (placed && entry.host !== expected) break;
  }
  const length = Math.min(covered - (offset % subclusterBytes), limit);
  if (!hasPlace) return plainRun(kind, length);
  const runKind = kind === 'data' ? 'data' : 'zero';
  return placedRun(metadata, runKind, length, host + (offset % clusterBytes), owned);
}

interface ExtendedEntry {
  readonly compressed: boolean;
  readonly placed: boolean;
  readonly owned: boolean;
  readonly host: number;
  readonly zero: number;
  readonly allocated: number;
}

function readEntry(metadata: ImageMetadata, table: CachedTable, index: number): ExtendedEntry {
  const { view } = table;
  const high = view.getUint32(index * 16);
  const low = view.getUint32(index * 16 + 4);
  const zero = view.getUint32(index * 16 + ZERO_BITS);
  const allocated = view.getUint32(index * 16 + ALLOCATED_BITS);
  const kind = entryKind(high, low, metadata.geometry);
  const compressed = kind === EntryKind.COMPRESSED;
  const placed = kind === EntryKind.STANDARD;
  const host = hostOffset(high, low);
  if (!compressed) {
    if ((zero & allocated) !== 0 || (allocated !== 0 && !placed)) {
      throw new TsvmError(
        'invalid-disk',
        `${metadata.file.path}: entry ${index} of L2 table ${table.index} has a sub-cluster bitmap ` +
          'that contradicts itself',
      );
    }
    if (placed) checkHostCluster(metadata, host, table, index);
  }
  return { compressed, placed, owned: isCopied(high), host, zero, allocated };
}

function subclusterKind(entry: ExtendedEntry, sub: number): RunKind {
  if (((entry.allocated >>> sub) & 1) !== 0) return 'data';
  return ((entry.zero >>> sub) & 1) !== 0 ? 'zero' : 'unallocated';
}
