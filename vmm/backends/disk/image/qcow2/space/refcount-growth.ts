import { TsvmError } from '../../../../../errors.ts';
import { REFCOUNT_TABLE_BYTES_MAX } from '../header/layout.ts';
import { MetadataTable } from '../tables/metadata-table.ts';
import type { Allocator, AllocatorHost } from './allocator.ts';

const ENTRY_BYTES = 8;

/**
 * Moves the refcount table to where it has room for at least `entries` refcount blocks. Crash-safe
 * by its order: refcount blocks, the new table, the header that names it; the old table's clusters
 * become free with the next flush.
 */
export function growRefcountTable(
  host: AllocatorHost,
  allocator: Allocator,
  entries: number,
): void {
  const { file, geometry, refcounts } = host;
  const { clusterBytes } = geometry;
  const old = refcounts.table;
  const oldClusters = old.bytes.byteLength / clusterBytes;
  let clusters = Math.max(
    Math.ceil((entries * ENTRY_BYTES) / clusterBytes),
    Math.ceil(oldClusters * 1.5),
  );
  let area = allocator.findArea(clusters);
  // The new table also has to have room for the refcounts of itself.
  for (;;) {
    const lastBlock = refcounts.blockOf(area.first + area.missing + clusters - 1);
    const needed = Math.ceil(((lastBlock + 1) * ENTRY_BYTES) / clusterBytes);
    if (needed <= clusters) break;
    clusters = needed;
    area = allocator.findArea(clusters);
  }
  const bytes = clusters * clusterBytes;
  if (bytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw new TsvmError(
      'disk-io',
      `${file.path} cannot grow any more: its refcount table is at its limit; copy it with ` +
        '"tsvm image convert" to an image with larger clusters',
    );
  }
  // A failure half way would leave refcounts that the file's own table does not have.
  host.changeStructure(() => {
    const tableCluster = area.first + area.missing;
    const table = new MetadataTable(tableCluster * clusterBytes, new Uint8Array(bytes));
    table.bytes.set(old.bytes);
    refcounts.replaceTable(table);
    allocator.claimArea(area.first, area.missing, clusters);
    host.metadataClusters().add(tableCluster, clusters);
    host.writeRefcountBlocks();
    file.datasyncSync();
    file.writeSync(table.fileOffset, table.bytes);
    table.takeWrites([]);
    file.datasyncSync();
    host.setRefcountTable(table.fileOffset, clusters);
    host.metadataClusters().remove(old.fileOffset / clusterBytes, oldClusters);
    allocator.free(old.fileOffset / clusterBytes, oldClusters);
  });
}
