import { TsvmError } from '../../../../../errors.ts';
import { encodeBytes } from '../../../../../util/byte-names.ts';
import type { DiskImage } from '../../image.ts';
import { type Bitmap, bitmapEntryBytes, readBitmapDirectory } from '../bitmap/bitmap-tables.ts';
import type { Qcow2Image } from '../qcow2-image.ts';
import { type CreateOptions, checkCreateOptions } from './create-options.ts';

/**
 * The size of a qcow2 image's file with every cluster allocated, in bytes, as `qemu-img measure`
 * counts it.
 * @throws TsvmError `invalid-config` for options that contradict each other
 */
export function fullyAllocatedBytes(options: CreateOptions): number {
  const { clusterBits, extendedL2, refcountBits } = checkCreateOptions(options);
  const clusterBytes = 2 ** clusterBits;
  const entryBytes = extendedL2 ? 16 : 8;
  const diskBytes = roundUp(options.sizeBytes, clusterBytes);
  const l2Entries = roundUp(diskBytes / clusterBytes, clusterBytes / entryBytes);
  const l2Bytes = l2Entries * entryBytes;
  const l1Bytes = roundUp(l2Bytes / clusterBytes, clusterBytes / 8) * 8;
  const bytes = clusterBytes + l2Bytes + l1Bytes + diskBytes;
  return bytes + refcountClusters(bytes / clusterBytes, clusterBytes, refcountBits) * clusterBytes;
}

/** Refcount blocks and table; they count themselves too. */
function refcountClusters(clusters: number, clusterBytes: number, refcountBits: number): number {
  const perBlock = (clusterBytes * 8) / refcountBits;
  let own = 0;
  for (;;) {
    const blocks = Math.ceil((clusters + own) / perBlock);
    const next = blocks + Math.ceil(blocks / (clusterBytes / 8));
    if (next <= own) return own;
    own = next;
  }
}

/**
 * The size of an image's bitmaps in a new image, fully allocated, in bytes.
 * @throws TsvmError `invalid-disk` when their directory is damaged
 */
export function bitmapsBytes(image: Qcow2Image, clusterBytes: number): number {
  const { file, header } = image;
  if (header.bitmaps === undefined) return 0;
  const { clusterBits, sizeBytes } = header;
  const found = readBitmapDirectory(file, header.bitmaps, {
    clusterBytes: 2 ** clusterBits,
    sizeBytes,
  });
  if (typeof found === 'string') {
    throw new TsvmError('invalid-disk', `${file.path}: the bitmap directory is damaged: ${found}`);
  }
  if (found.length === 0) return 0;
  const directory = found.reduce(
    (sum, { name }) => sum + bitmapEntryBytes(encodeBytes(name).length),
    0,
  );
  return found.reduce(
    (sum, bitmap) => sum + bitmapBytes(bitmap, image, clusterBytes),
    roundUp(directory, clusterBytes),
  );
}

function bitmapBytes(
  { granularityBytes }: Bitmap,
  { sizeBytes }: DiskImage,
  clusterBytes: number,
): number {
  const clusters = Math.ceil(sizeBytes / granularityBytes / 8 / clusterBytes);
  return clusters * clusterBytes + roundUp(clusters * 8, clusterBytes);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
