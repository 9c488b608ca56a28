import { TsvmError } from '../../../../../errors.ts';
import { encodeBytes } from '../../../../../util/byte-names.ts';
import type { BitmapsExtension } from '../header/header-extensions.ts';
import { BITMAPS_MAX, ExtensionType } from '../header/layout.ts';
import type { Qcow2Image } from '../qcow2-image.ts';
import { type Bits, emptyBits, mergeBits, readBits, resizedBits, setRange } from './bitmap-bits.ts';
import {
  BITMAP_BYTES_MAX,
  type Bitmap,
  type BitmapTable,
  encodeBitmapDirectory,
  NAME_BYTES_MAX,
  readBitmapDirectory,
  readBitmapTable,
} from './bitmap-tables.ts';

const GRANULARITY_MIN = 512;
const GRANULARITY_MAX = 2 ** 31;
/** QEMU's default: the cluster size within these limits. */
const DEFAULT_GRANULARITY_MIN = 4096;
const DEFAULT_GRANULARITY_MAX = 65_536;
const TABLE_ENTRY_BYTES = 8;
/** Of all bitmaps that are held, and of their tables. An image from others may claim terabytes. */
const HELD_BYTES_MAX = BITMAP_BYTES_MAX;
const HELD_TABLE_ENTRIES_MAX = 2 ** 22;

/** A bitmap after the changes: `bits` have to be written; without them it stays its host offset. */
interface ChangedBitmap {
  readonly bitmap: Bitmap;
  readonly bits: Bits | undefined;
}

/**
 * The bitmaps of an image.
 * @throws TsvmError `invalid-disk` when the directory is damaged
 */
export function listBitmaps({ clusterBytes, file, header, sizeBytes }: Qcow2Image): Bitmap[] {
  if (header.bitmaps === undefined) return [];
  const found = readBitmapDirectory(file, header.bitmaps, { clusterBytes, sizeBytes });
  if (typeof found !== 'string') return found;
  throw new TsvmError(
    'invalid-disk',
    `${file.path}: the bitmap directory is damaged: ${found}; see "tsvm image check ${file.path}"`,
  );
}

/**
 * The bits of a bitmap of an image.
 * @throws TsvmError `invalid-config` when there is none or it was not saved; `invalid-disk`
 */
export function bitsOf(image: Qcow2Image, name: string): Bits {
  const bitmap = listBitmaps(image).find((one) => one.name === name);
  if (bitmap === undefined) throw noBitmap(image, name);
  return readBits(image.file, consistent(image, bitmap), image);
}

/**
 * Changes an image's bitmaps in memory, and then stores them together. A crash while they are
 * stored leaves no valid bitmaps, and lost space.
 */
export class BitmapChanges {
  readonly #image: Qcow2Image;
  readonly #old: readonly Bitmap[];
  /** The directory in the file, although a change may have dropped it from the header since. */
  readonly #directory: BitmapsExtension | undefined;
  #bitmaps: ChangedBitmap[];

  /** @throws TsvmError `invalid-config` for version 2, which has no bitmaps; `invalid-disk` */
  constructor(image: Qcow2Image) {
    if (image.header.version < 3) {
      throw new TsvmError(
        'invalid-config',
        `${image.file.path} is of version 2, which has no bitmaps: use "tsvm image amend -o compat=1.1"`,
      );
    }
    this.#image = image;
    this.#old = listBitmaps(image);
    this.#directory = image.header.bitmaps;
    this.#bitmaps = this.#old.map((bitmap) => ({ bitmap, bits: undefined }));
  }

  add(name: string, granularity: number | undefined, enabled = true): void {
    const { clusterBytes, file, sizeBytes } = this.#image;
    const usual = Math.min(
      Math.max(clusterBytes, DEFAULT_GRANULARITY_MIN),
      DEFAULT_GRANULARITY_MAX,
    );
    const granularityBytes = granularity ?? usual;
    const nameBytes = encodeBytes(name).length;
    const wrong =
      (this.#bitmaps.some(({ bitmap }) => bitmap.name === name) && 'it exists already') ||
      (this.#bitmaps.length >= BITMAPS_MAX && 'there are too many') ||
      ((nameBytes === 0 || nameBytes > NAME_BYTES_MAX) && 'the name has 1 to 1023 bytes') ||
      (!isGranularity(granularityBytes) && 'a granularity is a power of two from 512 to 2G') ||
      (sizeBytes / granularityBytes / 8 > BITMAP_BYTES_MAX && 'the granularity is too fine');
    if (typeof wrong === 'string') {
      throw new TsvmError(
        'invalid-config',
        `${file.path}: no bitmap ${JSON.stringify(name)}: ${wrong}`,
      );
    }
    const table = { offset: 0, entries: 0 };
    const bitmap = { name, granularityBytes, inUse: false, auto: enabled, table };
    this.#bitmaps.push({ bitmap, bits: emptyBits(sizeBytes, granularityBytes) });
  }

  remove(name: string): void {
    this.#find(name);
    this.#bitmaps = this.#bitmaps.filter(({ bitmap }) => bitmap.name !== name);
  }

  clear(name: string): void {
    const { bitmap } = this.#findConsistent(name);
    this.#replace(bitmap, emptyBits(this.#image.sizeBytes, bitmap.granularityBytes));
  }

  enable(name: string, enabled: boolean): void {
    const { bitmap, bits } = this.#findConsistent(name);
    this.#replace({ ...bitmap, auto: enabled }, bits);
  }

  /** @param source of a disk of the same size */
  merge(name: string, source: Bits): void {
    const { bitmap, bits } = this.#findConsistent(name);
    if (source.diskBytes !== this.#image.sizeBytes) {
      throw new TsvmError('invalid-config', 'the bitmaps are of disks of different sizes');
    }
    const merged = bits ?? readBits(this.#image.file, bitmap, this.#image);
    mergeBits(merged, source);
    this.#replace(bitmap, merged);
  }

  /** A bitmap after the changes so far. */
  bits(name: string): Bits {
    const { bitmap, bits } = this.#findConsistent(name);
    return bits ?? readBits(this.#image.file, bitmap, this.#image);
  }

  /**
   * Reads all bitmaps, so that they can be stored again after changes of the disk's content or size.
   * Those that were not saved stay as they are.
   * @throws TsvmError `invalid-disk`, also if they are too large together
   */
  hold(): void {
    const { file, sizeBytes } = this.#image;
    let bytes = 0;
    let entries = 0;
    for (const { bitmap } of this.#bitmaps) {
      bytes += sizeBytes / bitmap.granularityBytes / 8;
      entries += bitmap.table.entries;
    }
    if (bytes > HELD_BYTES_MAX || entries > HELD_TABLE_ENTRIES_MAX) {
      throw new TsvmError('invalid-disk', `${file.path}: its bitmaps are too large`);
    }
    for (const { bitmap } of this.#bitmaps) {
      if (!bitmap.inUse) this.#replace(bitmap, this.bits(bitmap.name));
    }
  }

  /** Records a write in the bitmaps that are held and enabled. */
  record(offset: number, length: number): void {
    for (const { bitmap, bits } of this.#bitmaps) {
      if (!bitmap.auto || bits === undefined) continue;
      const resized = resizedBits(bits, Math.max(bits.diskBytes, this.#image.sizeBytes));
      if (resized !== bits) this.#replace(bitmap, resized);
      setRange(resized, offset, length);
    }
  }

  removeAll(): void {
    this.#bitmaps = [];
  }

  /** Writes them, durably. @throws TsvmError `disk-io`, `invalid-disk` */
  store(): void {
    const { file, header, metadata, sizeBytes } = this.#image;
    const freed = this.#clustersToFree();
    metadata.beginWrite();
    const stored = this.#bitmaps.map(({ bitmap, bits }) =>
      bits === undefined
        ? bitmap
        : { ...bitmap, table: this.#writeBits(resizedBits(bits, sizeBytes)) },
    );
    const directory = encodeBitmapDirectory(stored);
    const offset = directory.length === 0 ? 0 : this.#writeClusters(directory);
    this.#image.flushSync();
    const others = header.extensions.filter(({ type }) => type !== ExtensionType.BITMAPS);
    if (stored.length === 0) {
      metadata.header.rewrite({ extensions: others, bitmaps: undefined, bitmapsConsistent: false });
    } else {
      const bitmaps = {
        count: stored.length,
        directoryOffset: offset,
        directoryBytes: directory.length,
      };
      const extension = { type: ExtensionType.BITMAPS, data: encodeBitmapsExtension(bitmaps) };
      metadata.header.rewrite({
        extensions: [...others, extension],
        bitmaps,
        bitmapsConsistent: true,
      });
    }
    for (const [first, count] of freed) metadata.allocator.free(first, count);
    this.#image.flushSync();
    file.datasyncSync();
  }

  #find(name: string): ChangedBitmap {
    const found = this.#bitmaps.find(({ bitmap }) => bitmap.name === name);
    if (found === undefined) throw noBitmap(this.#image, name);
    return found;
  }

  #findConsistent(name: string): ChangedBitmap {
    const found = this.#find(name);
    consistent(this.#image, found.bitmap);
    return found;
  }

  #replace(bitmap: Bitmap, bits: Bits | undefined): void {
    this.#bitmaps = this.#bitmaps.map((one) =>
      one.bitmap.name === bitmap.name ? { bitmap, bits } : one,
    );
  }

  /** Runs of clusters that are not used any more: first and count. */
  #clustersToFree(): (readonly [number, number])[] {
    const { clusterBytes, file } = this.#image;
    const kept = new Set(
      this.#bitmaps
        .filter(({ bits }) => bits === undefined)
        .map(({ bitmap }) => bitmap.table.offset),
    );
    const runs: (readonly [number, number])[] = [];
    const add = (offset: number, bytes: number) =>
      runs.push([offset / clusterBytes, Math.ceil(bytes / clusterBytes)]);
    if (this.#directory !== undefined) {
      add(this.#directory.directoryOffset, this.#directory.directoryBytes);
    }
    for (const { table } of this.#old.filter((one) => !kept.has(one.table.offset))) {
      const offsets = readBitmapTable(file, table, clusterBytes);
      if (typeof offsets === 'string') {
        throw new TsvmError(
          'invalid-disk',
          `${file.path}: a bitmap's table is damaged: ${offsets}; see "tsvm image check ${file.path}"`,
        );
      }
      add(table.offset, table.entries * TABLE_ENTRY_BYTES);
      for (const offset of offsets) add(offset, clusterBytes);
    }
    return runs;
  }

  /** Clusters without a set bit are not allocated. */
  #writeBits({ bytes }: Bits): BitmapTable {
    const { clusterBytes } = this.#image;
    const entries = Math.max(1, Math.ceil(bytes.length / clusterBytes));
    const table = Buffer.alloc(entries * TABLE_ENTRY_BYTES);
    for (let index = 0; index < entries; index++) {
      const part = bytes.subarray(index * clusterBytes, (index + 1) * clusterBytes);
      if (part.every((byte) => byte === 0)) continue;
      table.writeBigUInt64BE(BigInt(this.#writeClusters(part)), index * TABLE_ENTRY_BYTES);
    }
    return { offset: this.#writeClusters(table), entries };
  }

  /** @returns where it is */
  #writeClusters(bytes: Uint8Array): number {
    const { clusterBytes, file, metadata } = this.#image;
    const count = Math.ceil(bytes.length / clusterBytes);
    const { first } = metadata.allocator.allocateContiguous(count);
    const whole = new Uint8Array(count * clusterBytes);
    whole.set(bytes);
    file.writeSync(first * clusterBytes, whole);
    return first * clusterBytes;
  }
}

function encodeBitmapsExtension(bitmaps: {
  readonly count: number;
  readonly directoryOffset: number;
  readonly directoryBytes: number;
}): Uint8Array {
  const data = Buffer.alloc(24);
  data.writeUInt32BE(bitmaps.count, 0);
  data.writeBigUInt64BE(BigInt(bitmaps.directoryBytes), 8);
  data.writeBigUInt64BE(BigInt(bitmaps.directoryOffset), 16);
  return data;
}

function isGranularity(bytes: number): boolean {
  return bytes >= GRANULARITY_MIN && bytes <= GRANULARITY_MAX && Number.isInteger(Math.log2(bytes));
}

function noBitmap({ file }: Qcow2Image, name: string): TsvmError {
  return new TsvmError('invalid-config', `${file.path} has no bitmap ${JSON.stringify(name)}`);
}

/**
 * @throws TsvmError `invalid-config` when the bitmap was not saved, so that its content is
 * unreliable
 */
function consistent({ file }: Qcow2Image, bitmap: Bitmap): Bitmap {
  if (!bitmap.inUse) return bitmap;
  throw new TsvmError(
    'invalid-config',
    `the bitmap ${JSON.stringify(bitmap.name)} of ${file.path} was not saved by the program that ` +
      'used it, and can only be removed',
  );
}
