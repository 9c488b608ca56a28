import type { Geometry } from '../header/geometry.ts';
import { HIGH_COPIED, LOW_ZERO } from '../header/layout.ts';
import { L1_ENTRY_BYTES } from '../map/l1-table.ts';
import { EntryKind, entryKind, hostOffset } from '../map/l2-entry.ts';
import { snapshotL1Problem } from '../snapshot/snapshot-table.ts';
import { MetadataTable, type TableWrite } from '../tables/metadata-table.ts';
import type { CheckedImage } from './checked-image.ts';
import { isPreallocated, L2_HIGH_RESERVED_MASK, L2_LOW_RESERVED_MASK } from './l2-walk.ts';
import { L1_HIGH_RESERVED_MASK, L1_LOW_RESERVED_MASK, type References } from './references.ts';
import type { StoredRefcounts } from './stored-refcounts.ts';

/** Changes the entry at a byte offset if needed; returns whether it did. */
type Change = (view: DataView, at: number) => boolean;

/**
 * Clears reserved bits of L1 and L2 entries, and allocated space of zero entries at impossible
 * places. The guest's content does not change.
 */
export function repairEntries(image: CheckedImage, references: References): void {
  const { geometry, header, snapshotTable } = image;
  changeTable(image, references, header.l1Offset, header.l1Entries, repairL1Entry);
  for (const snapshot of snapshotTable.snapshots) {
    if (snapshotL1Problem(snapshot, geometry.clusterBytes) !== undefined) continue;
    changeTable(image, references, snapshot.l1TableOffset, snapshot.l1Entries, repairL1Entry);
  }
  const change: Change = (view, at) => repairL2Entry(view, at, geometry);
  references.activeTables.forEach((cluster) => {
    changeL2Table(image, references, cluster, change);
  });
  references.inactiveTables.forEach((cluster) => {
    if (references.activeTables.get(cluster) > 0) return;
    changeL2Table(image, references, cluster, change);
  });
  image.file.datasyncSync();
}

/** Sets the flag COPIED of all active entries according to the refcounts in the file. */
export function repairCopiedFlags(image: CheckedImage, references: References): void {
  const { geometry, header, stored } = image;
  changeTable(image, references, header.l1Offset, header.l1Entries, (view, at) => {
    const offset = hostOffset(view.getUint32(at), view.getUint32(at + 4));
    return offset !== 0 && setCopied(view, at, offset, geometry, stored);
  });
  references.activeTables.forEach((cluster) => {
    changeL2Table(image, references, cluster, (view, at) => {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      const kind = entryKind(high, low, geometry);
      if (kind !== EntryKind.STANDARD && kind !== EntryKind.ZERO_ALLOCATED) return false;
      return setCopied(view, at, hostOffset(high, low), geometry, stored);
    });
  });
  image.file.datasyncSync();
}

function changeL2Table(
  image: CheckedImage,
  references: References,
  cluster: number,
  change: Change,
): void {
  const { clusterBytes, l2EntryBytes, l2Entries } = image.geometry;
  changeTable(image, references, cluster * clusterBytes, l2Entries, change, l2EntryBytes);
}

/** Changes a table, unless something else overlaps it, which would be changed too. */
function changeTable(
  image: CheckedImage,
  references: References,
  offset: number,
  entries: number,
  change: Change,
  entryBytes = L1_ENTRY_BYTES,
): void {
  const { file, geometry } = image;
  const bytes = new Uint8Array(entries * entryBytes);
  const firstCluster = Math.floor(offset / geometry.clusterBytes);
  const endCluster = Math.ceil((offset + bytes.byteLength) / geometry.clusterBytes);
  for (let cluster = firstCluster; cluster < endCluster; cluster++) {
    if (!isTableOnly(references, cluster)) return;
  }
  file.readSync(offset, bytes);
  const table = new MetadataTable(offset, bytes);
  for (let at = 0; at < bytes.byteLength; at += entryBytes) {
    if (change(table.view, at)) table.markDirty(at, entryBytes);
  }
  const writes: TableWrite[] = [];
  table.takeWrites(writes);
  for (const write of writes) file.writeSync(offset + write.at, write.bytes);
}

/** Whether the cluster is referred to only as an L2 table, or only once. */
function isTableOnly(references: References, cluster: number): boolean {
  const asL2Table = references.activeTables.get(cluster) + references.inactiveTables.get(cluster);
  const all = references.counts.get(cluster);
  return asL2Table === 0 ? all === 1 : all === asL2Table;
}

function repairL1Entry(view: DataView, at: number): boolean {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  const isEmpty = hostOffset(high, low) === 0;
  return setEntry(
    view,
    at,
    isEmpty ? 0 : high & ~L1_HIGH_RESERVED_MASK,
    isEmpty ? 0 : low & ~L1_LOW_RESERVED_MASK,
  );
}

function repairL2Entry(view: DataView, at: number, geometry: Geometry): boolean {
  const high = view.getUint32(at);
  const low = view.getUint32(at + 4);
  const kind = entryKind(high, low, geometry);
  if (kind === EntryKind.COMPRESSED) return setEntry(view, at, high & ~HIGH_COPIED, low);
  const allocatedBits = geometry.extendedL2 ? view.getUint32(at + 12) : 0;
  if (
    (kind === EntryKind.STANDARD || kind === EntryKind.ZERO_ALLOCATED) &&
    hostOffset(high, low) % geometry.clusterBytes !== 0 &&
    isPreallocated(low, allocatedBits, geometry.extendedL2)
  ) {
    return setEntry(view, at, 0, geometry.extendedL2 ? 0 : LOW_ZERO);
  }
  return setEntry(view, at, high & ~L2_HIGH_RESERVED_MASK, low & ~L2_LOW_RESERVED_MASK);
}

function setCopied(
  view: DataView,
  at: number,
  offset: number,
  geometry: Geometry,
  stored: StoredRefcounts,
): boolean {
  const high = view.getUint32(at);
  const refcount = geometry.externalData
    ? 1
    : stored.get(Math.floor(offset / geometry.clusterBytes));
  if (refcount === undefined) return false;
  const wanted = refcount === 1 ? high | HIGH_COPIED : high & ~HIGH_COPIED;
  return setEntry(view, at, wanted, view.getUint32(at + 4));
}

function setEntry(view: DataView, at: number, high: number, low: number): boolean {
  if (view.getUint32(at) === high >>> 0 && view.getUint32(at + 4) === low >>> 0) return false;
  view.setUint32(at, high);
  view.setUint32(at + 4, low);
  return true;
}
