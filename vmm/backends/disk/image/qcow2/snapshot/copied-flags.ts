/**
 * The flag COPIED of active entries: docs/interop/qcow2.txt, "1 if its refcount is exactly one".
 * With it a cluster can be written in place without looking up its refcount.
 */

import { HIGH_COPIED } from '../header/layout.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import { L1_ENTRY_BYTES } from '../map/l1-table.ts';
import { EntryKind, entryKind, hostOffset } from '../map/l2-entry.ts';
import type { MetadataTable } from '../tables/metadata-table.ts';

/**
 * Sets all flags of the active L1 table and its L2 tables according to the refcounts.
 * @param flush called between tables when too much is dirty
 */
export function updateCopiedFlags(metadata: ImageMetadata, flush: () => void): void {
  const { geometry, l1, l2, refcounts } = metadata;
  for (let index = 0; index < l1.entries; index++) {
    const offset = l1.l2Offset(index);
    if (offset === 0) continue;
    const isOwned = refcounts.get(offset / geometry.clusterBytes) === 1;
    setCopied(l1, index * L1_ENTRY_BYTES, isOwned);
    const table = l2.get(index);
    if (table !== undefined) updateTable(metadata, table, isOwned);
    if (metadata.isCrowded) flush();
  }
}

/**
 * @param isOwned nothing else refers to the table; otherwise everything that it refers to is shared
 */
function updateTable(metadata: ImageMetadata, table: MetadataTable, isOwned: boolean): void {
  const { geometry, refcounts } = metadata;
  const { l2EntryBytes, clusterBytes } = geometry;
  for (let at = 0; at < table.bytes.byteLength; at += l2EntryBytes) {
    const high = table.view.getUint32(at);
    const low = table.view.getUint32(at + 4);
    const kind = entryKind(high, low, geometry);
    if (kind !== EntryKind.STANDARD && kind !== EntryKind.ZERO_ALLOCATED) continue;
    const copied = isOwned && refcounts.get(hostOffset(high, low) / clusterBytes) === 1;
    setCopied(table, at, copied);
  }
}

function setCopied(table: MetadataTable, at: number, copied: boolean): void {
  const high = table.view.getUint32(at);
  const wanted = (copied ? high | HIGH_COPIED : high & ~HIGH_COPIED) >>> 0;
  if (wanted === high) return;
  table.view.setUint32(at, wanted);
  table.markDirty(at, L1_ENTRY_BYTES);
}
