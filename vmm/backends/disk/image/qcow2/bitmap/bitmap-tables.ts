/** The tables of persistent bitmaps: docs/interop/qcow2.txt, "Bitmaps". */
import { decodeBytes, encodeBytes } from '../../../../../util/byte-names.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import type { BitmapsExtension } from '../header/header-extensions.ts';
import { HIGH_OFFSET_MASK, LOW_OFFSET_MASK } from '../header/layout.ts';

/** "Bitmap directory entry": byte offsets of the fields. */
const Field = {
  bitmap_table_offset: 0,
  bitmap_table_size: 8,
  flags: 12,
  type: 16,
  granularity_bits: 17,
  name_size: 18,
  extra_data_size: 20,
} as const;
const FIXED_BYTES = 24;

const FLAG_IN_USE = 1;
const FLAG_AUTO = 2;
const FLAGS_RESERVED_MASK = 0xffff_fffc;
const TYPE_DIRTY_TRACKING = 1;
const GRANULARITY_BITS_MIN = 9;
const GRANULARITY_BITS_MAX = 31;
export const NAME_BYTES_MAX = 1023;
/** QEMU's limit of a bitmap, in bytes. */
export const BITMAP_BYTES_MAX = 512 * 2 ** 20;

const ENTRY_BYTES = 8;
/** "Bitmap table entry": bits that must be 0… */
const HIGH_RESERVED_MASK = 0xff00_0000;
const LOW_RESERVED_MASK = 0x1fe;
/** …and one that must be 0 when there is an offset. */
const LOW_ALL_ONES = 1;

/** A bitmap's table of clusters. */
export interface BitmapTable {
  readonly offset: number;
  readonly entries: number;
}

/** An entry of the directory. */
export interface Bitmap {
  readonly name: string;
  /** Bytes of the disk per bit. */
  readonly granularityBytes: number;
  /** It was not saved by the last program that had it open, so its content is unreliable. */
  readonly inUse: boolean;
  /** Writes to the image are recorded in it. */
  readonly auto: boolean;
  readonly table: BitmapTable;
}

/** The size of a bitmap's entry in the directory. */
export function bitmapEntryBytes(nameBytes: number): number {
  return Math.ceil((FIXED_BYTES + nameBytes) / ENTRY_BYTES) * ENTRY_BYTES;
}

/** The encoded directory; empty without bitmaps. */
export function encodeBitmapDirectory(bitmaps: readonly Bitmap[]): Uint8Array {
  return Buffer.concat(bitmaps.map(encodeEntry));
}

function encodeEntry({ auto, granularityBytes, inUse, name, table }: Bitmap): Buffer {
  const nameBytes = encodeBytes(name);
  const entry = Buffer.alloc(bitmapEntryBytes(nameBytes.length));
  entry.writeBigUInt64BE(BigInt(table.offset), Field.bitmap_table_offset);
  entry.writeUInt32BE(table.entries, Field.bitmap_table_size);
  entry.writeUInt32BE((inUse ? FLAG_IN_USE : 0) | (auto ? FLAG_AUTO : 0), Field.flags);
  entry.writeUInt8(TYPE_DIRTY_TRACKING, Field.type);
  entry.writeUInt8(Math.log2(granularityBytes), Field.granularity_bits);
  entry.writeUInt16BE(nameBytes.length, Field.name_size);
  entry.set(nameBytes, FIXED_BYTES);
  return entry;
}

/** @returns the bitmaps, or what is wrong with the directory */
export function readBitmapDirectory(
  file: ImageFile,
  extension: BitmapsExtension,
  image: { readonly clusterBytes: number; readonly sizeBytes: number },
): Bitmap[] | string {
  const directory = Buffer.alloc(extension.directoryBytes);
  file.readSync(extension.directoryOffset, directory);
  const bitmaps: Bitmap[] = [];
  let at = 0;
  while (at < directory.byteLength) {
    if (at + FIXED_BYTES > directory.byteLength) return 'its last entry is truncated';
    const nameBytes = directory.readUInt16BE(at + Field.name_size);
    if (directory.readUInt32BE(at + Field.extra_data_size) !== 0) return 'extra data in an entry';
    const table = {
      offset: Number(directory.readBigUInt64BE(at + Field.bitmap_table_offset)),
      entries: directory.readUInt32BE(at + Field.bitmap_table_size),
    };
    const granularityBits = directory.readUInt8(at + Field.granularity_bits);
    const flags = directory.readUInt32BE(at + Field.flags);
    const bitmapBytes = table.entries * image.clusterBytes;
    const coversImage = bitmapBytes * 8 * 2 ** granularityBits >= image.sizeBytes;
    if (
      table.entries === 0 ||
      table.offset === 0 ||
      table.offset % image.clusterBytes !== 0 ||
      bitmapBytes > BITMAP_BYTES_MAX ||
      granularityBits < GRANULARITY_BITS_MIN ||
      granularityBits > GRANULARITY_BITS_MAX ||
      (flags & FLAGS_RESERVED_MASK) !== 0 ||
      nameBytes > NAME_BYTES_MAX ||
      directory.readUInt8(at + Field.type) !== TYPE_DIRTY_TRACKING ||
      ((flags & FLAG_IN_USE) === 0 && !coversImage)
    ) {
      return `entry ${bitmaps.length} has an invalid field`;
    }
    const nameAt = at + FIXED_BYTES;
    bitmaps.push({
      name: decodeBytes(directory.subarray(nameAt, nameAt + nameBytes)),
      granularityBytes: 2 ** granularityBits,
      inUse: (flags & FLAG_IN_USE) !== 0,
      auto: (flags & FLAG_AUTO) !== 0,
      table,
    });
    at += bitmapEntryBytes(nameBytes);
  }
  if (at !== directory.byteLength) return 'its last entry is truncated';
  if (bitmaps.length !== extension.count) {
    return `it has ${bitmaps.length} bitmaps, and the header says ${extension.count}`;
  }
  return bitmaps;
}

/**
 * The clusters of a bitmap, as host offsets in bytes.
 * @returns or what is wrong with its table
 */
export function readBitmapTable(
  file: ImageFile,
  table: BitmapTable,
  clusterBytes: number,
): number[] | string {
  const bytes = new Uint8Array(table.entries * ENTRY_BYTES);
  file.readSync(table.offset, bytes);
  const view = new DataView(bytes.buffer);
  const offsets: number[] = [];
  for (let at = 0; at < bytes.byteLength; at += ENTRY_BYTES) {
    const high = view.getUint32(at);
    const low = view.getUint32(at + 4);
    const offset = (high & HIGH_OFFSET_MASK) * 2 ** 32 + ((low & LOW_OFFSET_MASK) >>> 0);
    if (
      (high & HIGH_RESERVED_MASK) !== 0 ||
      (low & LOW_RESERVED_MASK) !== 0 ||
      offset % clusterBytes !== 0 ||
      (offset !== 0 && (low & LOW_ALL_ONES) !== 0)
    ) {
      return `entry ${at / ENTRY_BYTES} has an invalid value`;
    }
    if (offset !== 0) offsets.push(offset);
  }
  return offsets;
}
