import { assertDeviceHolds } from '../../../file/device-size.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import { featureNameTable } from '../header/feature-names.ts';
import { encodeHeader } from '../header/header-encode.ts';
import type { Header } from '../header/header-fields.ts';
import {
  CLUSTER_BITS_MIN,
  UNKNOWN_FIELDS_OFFSET,
  V2_HEADER_BYTES,
  V3_HEADER_BYTES,
} from '../header/layout.ts';
import { refcountWidth } from '../space/refcount-width.ts';
import { type CheckedOptions, type CreateOptions, checkCreateOptions } from './create-options.ts';

/** The places of a new image's tables: one after the other from the second cluster on. */
interface Layout {
  readonly clusterBytes: number;
  readonly refcountTableClusters: number;
  readonly refcountBlocks: number;
  readonly l1Clusters: number;
  /** Including the header. */
  readonly totalClusters: number;
}

/**
 * Writes a new, empty image into a file and makes it durable. The file's old content is lost. The
 * header is written last: until then the file is not a qcow2 image.
 * @throws TsvmError `invalid-config` for options that contradict each other, `disk-io`; a block
 * device that is too small is not changed
 */
export function createQcow2(file: ImageFile, options: CreateOptions): void {
  const checked = checkCreateOptions(options);
  const layout = layOut(checked);
  const { clusterBytes } = layout;
  const refcountTableOffset = clusterBytes;
  const refcountBlocksOffset = refcountTableOffset + layout.refcountTableClusters * clusterBytes;
  const l1Offset = refcountBlocksOffset + layout.refcountBlocks * clusterBytes;
  const header = newHeader(checked, { ...layout, refcountTableOffset, l1Offset });
  const headerBytes = encodeHeader(header);
  const { dataFile } = checked;
  assertDeviceHolds(file, layout.totalClusters * clusterBytes);
  if (dataFile !== undefined) assertDeviceHolds(dataFile.file, checked.sizeBytes);

  // Not when it is empty: on ext4, closing a file that was truncated to nothing waits for the disk.
  if (!file.isBlockDevice && file.sizeBytes() > 0) file.truncateSync(0);
  file.writeZeroesSync(0, layout.totalClusters * clusterBytes, true);
  file.writeSync(refcountTableOffset, encodeRefcountTable(layout, refcountBlocksOffset));
  file.writeSync(refcountBlocksOffset, encodeRefcountBlocks(layout, checked.refcountBits));
  file.datasyncSync();
  file.writeSync(0, headerBytes);
  file.datasyncSync();
  if (dataFile === undefined) return;
  if (!dataFile.file.isBlockDevice) {
    dataFile.file.truncateSync(0);
    dataFile.file.truncateSync(dataFile.raw ? checked.sizeBytes : 0);
  }
  dataFile.file.datasyncSync();
}

/** Refcounts count their own clusters too, so their number is found iteratively. */
function layOut({ clusterBits, refcountBits, l1Entries }: CheckedOptions): Layout {
  const clusterBytes = 2 ** clusterBits;
  const blockEntries = (clusterBytes * 8) / refcountBits;
  const l1Clusters = Math.ceil((l1Entries * 8) / clusterBytes);
  let refcountBlocks = 0;
  let refcountTableClusters = 1;
  let totalClusters = 0;
  do {
    refcountBlocks++;
    refcountTableClusters = Math.ceil((refcountBlocks * 8) / clusterBytes);
    totalClusters = 1 + refcountTableClusters + refcountBlocks + l1Clusters;
  } while (refcountBlocks * blockEntries < totalClusters);
  return { clusterBytes, refcountTableClusters, refcountBlocks, l1Clusters, totalClusters };
}

function encodeRefcountTable(layout: Layout, blocksOffset: number): Uint8Array {
  const bytes = new Uint8Array(layout.refcountBlocks * 8);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < layout.refcountBlocks; block++) {
    view.setBigUint64(block * 8, BigInt(blocksOffset + block * layout.clusterBytes));
  }
  return bytes;
}

/**
 * Every cluster is used once. Blocks adjoin, and so do their entries; the zero part of the last
 * block is left out.
 */
function encodeRefcountBlocks(layout: Layout, refcountBits: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil((layout.totalClusters * refcountBits) / 8));
  const view = new DataView(bytes.buffer);
  const width = refcountWidth(refcountBits);
  for (let cluster = 0; cluster < layout.totalClusters; cluster++) width.set(view, cluster, 1);
  return bytes;
}

function newHeader(
  options: CheckedOptions,
  place: Layout & { readonly refcountTableOffset: number; readonly l1Offset: number },
): Header {
  const isVersion3 = options.version === 3;
  return {
    version: options.version,
    clusterBits: options.clusterBits,
    sizeBytes: options.sizeBytes,
    backingName: options.backing?.name,
    backingFormat: options.backing?.format,
    backingNameOffset: 0,
    l1Offset: place.l1Offset,
    l1Entries: options.l1Entries,
    refcountTableOffset: place.refcountTableOffset,
    refcountTableClusters: place.refcountTableClusters,
    refcountBits: options.refcountBits,
    snapshotCount: 0,
    snapshotsOffset: 0,
    dirty: false,
    corrupt: false,
    externalDataFile: options.dataFile !== undefined,
    dataFileName: options.dataFile?.name,
    rawExternalData: options.dataFile?.raw ?? false,
    extendedL2: options.extendedL2,
    compressionType: options.compressionType,
    lazyRefcounts: options.lazyRefcounts,
    unknownCompatible: 0n,
    unknownAutoclear: 0n,
    bitmaps: undefined,
    bitmapsConsistent: false,
    // In a cluster of 512 bytes there would be no room left for names.
    extensions: isVersion3 && options.clusterBits > CLUSTER_BITS_MIN ? [featureNameTable()] : [],
    headerBytes: isVersion3 ? V3_HEADER_BYTES : V2_HEADER_BYTES,
    unknownFields: new Uint8Array(isVersion3 ? V3_HEADER_BYTES - UNKNOWN_FIELDS_OFFSET : 0),
  };
}
