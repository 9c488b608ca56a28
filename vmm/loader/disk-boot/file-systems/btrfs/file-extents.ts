/** Content of files: `struct btrfs_file_extent_item`. */
import { inflateSync, zstdDecompressSync } from 'node:zlib';
import { zstdFrameBytes } from '../../../../util/zstd-frame.ts';
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import type { ChunkMap } from './chunk-map.ts';
import { decompressLzo } from './lzo.ts';

const INLINE_HEADER_BYTES = 21;
const TYPE_INLINE = 0;
const TYPE_REGULAR = 1;
const COMPRESSIONS = ['none', 'zlib', 'lzo', 'zstd'] as const;
type Compression = (typeof COMPRESSIONS)[number];
/** BTRFS_MAX_COMPRESSED and BTRFS_MAX_UNCOMPRESSED. */
const COMPRESSED_BYTES_MAX = 128 * 1024;

/** How many bytes of its file an extent has. */
export function extentBytes(item: Fields): number {
  return item.u64(item.u8(20) === TYPE_INLINE ? 8 : 45);
}

/** Reads extents of files of one file system. */
export class ExtentReader {
  readonly #volume: Volume;
  readonly #chunks: ChunkMap;
  readonly #sectorBytes: number;

  constructor(volume: Volume, chunks: ChunkMap, sectorBytes: number) {
    this.#volume = volume;
    this.#chunks = chunks;
    this.#sectorBytes = sectorBytes;
  }

  /**
   * Copies what an extent has of a range of its file.
   * @param start the extent's offset in the file
   * @param target the range that begins at `offset` in the file, zeroed
   */
  copy(item: Fields, start: number, target: Uint8Array, offset: number, what: string): void {
    const compression = COMPRESSIONS[item.u8(16)];
    if (compression === undefined || item.u8(17) !== 0 || item.u16(18) !== 0) {
      throw item.invalid(`${what}: an extent has an unknown encoding`);
    }
    const type = item.u8(20);
    // Before it is unpacked: a file is read in pieces.
    const end = start + extentBytes(item);
    if (end <= offset || start >= offset + target.length) return;
    if (type === TYPE_INLINE) {
      const stored = item.slice(INLINE_HEADER_BYTES, item.sizeBytes - INLINE_HEADER_BYTES);
      const content = this.#decompress(stored, compression, item.u64(8), what);
      put(content, start, target, offset);
      return;
    }
    const address = item.u64(21);
    // Holes and preallocated extents read as zeroes.
    if (address === 0 || type !== TYPE_REGULAR) return;
    const length = item.u64(45);
    const skip = item.u64(37);
    if (compression === 'none') {
      this.#copyPlain(address + skip, start, length, target, offset, what);
      return;
    }
    const storedBytes = item.u64(29);
    if (storedBytes > COMPRESSED_BYTES_MAX) {
      throw item.invalid(`${what}: a compressed extent of ${storedBytes} bytes`);
    }
    const place = this.#chunks.locate(address, storedBytes, what);
    const stored = new Uint8Array(storedBytes);
    this.#volume.readInto(place, stored, what);
    const unpackedBytes = item.u64(8);
    const content = this.#decompress(stored, compression, unpackedBytes, what);
    // A file that uses little of each extent takes much work for its size.
    this.#volume.spend(Math.max(0, unpackedBytes - length));
    put(content.subarray(skip, skip + length), start, target, offset);
  }

  #copyPlain(
    address: number,
    start: number,
    length: number,
    target: Uint8Array,
    offset: number,
    what: string,
  ): void {
    const from = Math.max(start, offset);
    const to = Math.min(start + length, offset + target.length);
    if (from >= to) return;
    const place = this.#chunks.locate(address + from - start, to - from, what);
    this.#volume.readInto(place, target.subarray(from - offset, to - offset), what);
  }

  #decompress(
    stored: Uint8Array,
    compression: Compression,
    sizeBytes: number,
    what: string,
  ): Uint8Array {
    if (compression === 'none') return stored;
    if (sizeBytes > COMPRESSED_BYTES_MAX) {
      throw this.#volume.invalid(`${what}: an extent that unpacks to ${sizeBytes} bytes`);
    }
    try {
      return unpack(stored, compression, sizeBytes, this.#sectorBytes);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw this.#volume.invalid(
        `${what}: an extent cannot be unpacked (${compression}): ${reason}`,
      );
    }
  }
}

function unpack(
  stored: Uint8Array,
  compression: Exclude<Compression, 'none'>,
  sizeBytes: number,
  sectorBytes: number,
): Uint8Array {
  if (compression === 'lzo') return decompressLzo(stored, sectorBytes, sizeBytes);
  const options = { maxOutputLength: Math.max(sizeBytes, sectorBytes) };
  if (compression === 'zlib') return inflateSync(stored, options);
  return zstdDecompressSync(stored.subarray(0, zstdFrameBytes(stored)), options);
}

function put(content: Uint8Array, start: number, target: Uint8Array, offset: number): void {
  const from = Math.max(start, offset);
  const to = Math.min(start + content.length, offset + target.length);
  if (from < to) target.set(content.subarray(from - start, to - start), from - offset);
}
