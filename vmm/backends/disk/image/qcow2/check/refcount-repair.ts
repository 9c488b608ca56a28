/** Corrects the refcounts of an image, in their blocks or in new ones. */
import { TsvmError } from '../../../../../errors.ts';
import { REFCOUNT_TABLE_BYTES_MAX } from '../header/layout.ts';
import { LiveHeader } from '../header/live-header.ts';
import { type RefcountWidth, refcountWidth } from '../space/refcount-width.ts';
import { forEachCountedCluster } from './check.ts';
import { CheckReport } from './check-report.ts';
import type { CheckedImage } from './checked-image.ts';
import { countReferences, type References } from './references.ts';

const WORD = 2 ** 32;
const TABLE_ENTRY_BYTES = 8;

/**
 * Sets refcounts in existing blocks. Each write is an improvement by itself, so their order does
 * not matter.
 * @param which only refcounts that are too high, or all wrong ones
 */
export function correctRefcounts(
  image: CheckedImage,
  references: References,
  which: 'leaks' | 'all',
): void {
  const { file, geometry, stored } = image;
  const { clusterBytes, refcountBlockEntries } = geometry;
  const width = refcountWidth(geometry.refcountBits);
  let block: { index: number; offset: number; bytes: Uint8Array; view: DataView } | undefined;
  const writeBlock = () => {
    if (block !== undefined) file.writeSync(block.offset, block.bytes);
  };
  forEachCountedCluster(image, references, (cluster, refcount, counted) => {
    if (refcount === undefined || refcount === counted) return;
    if (refcount < counted && (which === 'leaks' || stored.isMissing(cluster))) return;
    const index = Math.floor(cluster / refcountBlockEntries);
    if (block?.index !== index) {
      writeBlock();
      const bytes = new Uint8Array(clusterBytes);
      const { offset } = stored.place(index);
      file.readSync(offset, bytes);
      block = { index, offset, bytes, view: new DataView(bytes.buffer) };
    }
    width.set(block.view, cluster % refcountBlockEntries, counted);
  });
  writeBlock();
  file.datasyncSync();
}

/** New refcount blocks and their table in adjoining clusters, the table first. */
interface Layout {
  readonly firstCluster: number;
  readonly tableClusters: number;
  /** Indices of the blocks, in the order of their places. */
  readonly blocks: readonly number[];
  readonly endCluster: number;
}

/**
 * Writes a new refcount structure after everything in use, then makes the header refer to it. The
 * clusters of the old one become free.
 * @throws TsvmError `disk-io` when there is no room
 */
export function rebuildRefcounts(image: CheckedImage, references: References): void {
  const { file, geometry, header } = image;
  let end = 0;
  references.counts.forEach((cluster) => {
    end = cluster + 1;
  });
  // Errors found here have been reported before.
  const scratch = { ...image, report: new CheckReport() };
  const { counts } = countReferences(scratch, 'without refcounts');
  const layout = layOut(scratch, counts, end);
  const { clusterBytes, refcountBlockEntries } = geometry;
  const tableBytes = layout.tableClusters * clusterBytes;
  if (tableBytes > REFCOUNT_TABLE_BYTES_MAX) {
    throw new TsvmError(
      'disk-io',
      `${file.path}: the refcount table would be larger than ` +
        `${REFCOUNT_TABLE_BYTES_MAX / 2 ** 20} MiB; copy the image with "tsvm image convert"`,
    );
  }
  if (file.isBlockDevice && layout.endCluster * clusterBytes > file.sizeBytes()) {
    throw new TsvmError('disk-io', `${file.path}: the device has no room for new refcounts`);
  }

  const table = new DataView(new ArrayBuffer(tableBytes));
  const width = refcountWidth(geometry.refcountBits);
  for (const [position, index] of layout.blocks.entries()) {
    const offset = (layout.firstCluster + layout.tableClusters + position) * clusterBytes;
    table.setUint32(index * TABLE_ENTRY_BYTES, Math.floor(offset / WORD));
    table.setUint32(index * TABLE_ENTRY_BYTES + 4, offset % WORD);
    const firstCluster = index * refcountBlockEntries;
    const refcountOf = (entry: number) => {
      const cluster = firstCluster + entry;
      const isNew = cluster >= layout.firstCluster && cluster < layout.endCluster;
      return isNew ? 1 : Math.min(counts.get(cluster), width.max);
    };
    file.writeSync(offset, encodeBlock(clusterBytes, refcountBlockEntries, width, refcountOf));
  }
  file.writeSync(layout.firstCluster * clusterBytes, new Uint8Array(table.buffer));
  file.datasyncSync();
  new LiveHeader(file, header).update({
    refcountTableOffset: layout.firstCluster * clusterBytes,
    refcountTableClusters: layout.tableClusters,
  });
}

function encodeBlock(
  clusterBytes: number,
  entries: number,
  width: RefcountWidth,
  refcountOf: (entry: number) => number,
): Uint8Array {
  const bytes = new Uint8Array(clusterBytes);
  const view = new DataView(bytes.buffer);
  for (let entry = 0; entry < entries; entry++) {
    const refcount = refcountOf(entry);
    if (refcount !== 0) width.set(view, entry, refcount);
  }
  return bytes;
}

/** The structure counts itself: its size is found iteratively. */
function layOut(image: CheckedImage, counts: References['counts'], firstCluster: number): Layout {
  const { clusterBytes, refcountBlockEntries } = image.geometry;
  const needed = new Set<number>();
  counts.forEach((cluster) => {
    needed.add(Math.floor(cluster / refcountBlockEntries));
  });
  for (;;) {
    const blocks = [...needed].sort((a, b) => a - b);
    const tableEntries = (blocks.at(-1) ?? 0) + 1;
    const tableClusters = Math.ceil((tableEntries * TABLE_ENTRY_BYTES) / clusterBytes);
    const endCluster = firstCluster + tableClusters + blocks.length;
    const before = needed.size;
    const lastBlock = Math.floor((endCluster - 1) / refcountBlockEntries);
    for (let index = Math.floor(firstCluster / refcountBlockEntries); index <= lastBlock; index++) {
      needed.add(index);
    }
    if (needed.size === before) return { firstCluster, tableClusters, blocks, endCluster };
  }
}
