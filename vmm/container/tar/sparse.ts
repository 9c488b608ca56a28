/**
 * Sparse members: GNU tar's manual, "Storing Sparse Files". The archive contains the parts with data,
 * concatenated, and a map of their offsets.
 */
import type { ByteWindow } from './byte-window.ts';
import { malformed, TAR_BLOCK_BYTES } from './header.ts';
import { paxInteger } from './pax.ts';

/** A part of a sparse file with data. All values are in bytes. */
export interface SparsePart {
  /** Offset in the file. */
  readonly offset: number;
  readonly length: number;
  /** Offset in the archive. */
  readonly dataOffset: number;
}

export interface SparseMap {
  /** The file's size. */
  readonly sizeBytes: number;
  readonly parts: readonly SparsePart[];
}

/** Where the member's data is in the archive. */
export interface MemberData {
  readonly window: ByteWindow;
  readonly offset: number;
  readonly length: number;
}

const PARTS_MAX = 2 ** 20;
const NEWLINE = 0x0a;

function sparseMap(pairs: readonly number[], sizeBytes: number, data: MemberData): SparseMap {
  if (pairs.length % 2 !== 0) throw malformed('a sparse map is cut off');
  const parts: SparsePart[] = [];
  let dataOffset = data.offset;
  let end = 0;
  for (let index = 0; index < pairs.length; index += 2) {
    const offset = pairs[index] ?? 0;
    const length = pairs[index + 1] ?? 0;
    if (offset < end || length < 0 || offset + length > sizeBytes) {
      throw malformed('the parts of a sparse map overlap, or lie outside the file');
    }
    end = offset + length;
    if (length > 0) parts.push({ offset, length, dataOffset });
    dataOffset += length;
  }
  if (dataOffset > data.offset + data.length) {
    throw malformed('a sparse map says more data than the member has');
  }
  return { sizeBytes, parts };
}

/** An octal field of an old sparse header. */
function octal(block: Buffer, start: number): number {
  const field = block.subarray(start, start + 12);
  if ((field[0] ?? 0) >= 0x80) return Number(field.readBigUInt64BE(4) & 0x1fffffffffffffn);
  const digits = /^ *([0-7]*)[ \0]*$/.exec(field.toString('latin1'))?.[1];
  if (digits === undefined) throw malformed('a sparse map is no list of octal numbers');
  return Number.parseInt(digits || '0', 8);
}

/** Reads `count` entries of 24 bytes; an empty one ends the list. */
function oldEntries(block: Buffer, start: number, count: number, pairs: number[]): void {
  for (let index = 0; index < count; index++) {
    const at = start + 24 * index;
    if (block[at] === 0) return;
    pairs.push(octal(block, at), octal(block, at + 12));
  }
}

/**
 * "Old GNU Format": the map starts in the header and continues in the following blocks.
 * @returns the map, and the bytes of those blocks, which the member's size does not include
 */
export function oldSparseMap(
  header: Buffer,
  data: MemberData,
): { readonly map: SparseMap; readonly extraBytes: number } {
  const pairs: number[] = [];
  const sizeBytes = octal(header, 483);
  oldEntries(header, 386, 4, pairs);
  let extraBytes = 0;
  for (let more = header[482] !== 0; more; ) {
    const block = data.window.view(data.offset + extraBytes, TAR_BLOCK_BYTES);
    if (block.length < TAR_BLOCK_BYTES || pairs.length > 2 * PARTS_MAX) {
      throw malformed('a sparse map does not end');
    }
    oldEntries(block, 0, 21, pairs);
    more = block[504] !== 0;
    extraBytes += TAR_BLOCK_BYTES;
  }
  const behind = { ...data, offset: data.offset + extraBytes };
  return { map: sparseMap(pairs, sizeBytes, behind), extraBytes };
}

/** The map, from the extended header or from before the data; undefined if the file is not sparse. */
export function paxSparseMap(
  records: readonly (readonly [string, string])[],
  data: MemberData,
): { readonly map: SparseMap; readonly name: string | undefined } | undefined {
  const last = new Map(records);
  const size = last.get('GNU.sparse.realsize') ?? last.get('GNU.sparse.size');
  if (size === undefined) return undefined;
  const sizeBytes = paxInteger(size, 'the size of a sparse file');
  if (sizeBytes < 0) throw malformed('the size of a sparse file is negative');
  const name = last.get('GNU.sparse.name');
  if (last.get('GNU.sparse.major') === '1') return { map: mapBeforeData(sizeBytes, data), name };
  const list = last.get('GNU.sparse.map');
  const numbers =
    list === undefined
      ? records.filter(([key]) => /^GNU\.sparse\.(offset|numbytes)$/.test(key)).map(([, v]) => v)
      : list.split(',').filter((item) => item !== '');
  if (numbers.length > 2 * PARTS_MAX) throw malformed('a sparse map has too many parts');
  const pairs = numbers.map((item) => paxInteger(item, 'an entry of a sparse map'));
  return { map: sparseMap(pairs, sizeBytes, data), name };
}

/** "Version 1.0": decimal numbers, a line each, before the data, which begins at the next block. */
function mapBeforeData(sizeBytes: number, { window, offset, length }: MemberData): SparseMap {
  let at = offset;
  const nextNumber = (): number => {
    const line = window.view(at, Math.min(24, offset + length - at));
    const end = line.indexOf(NEWLINE);
    if (end < 0) throw malformed('a sparse map does not end');
    at += end + 1;
    return paxInteger(line.toString('latin1', 0, end), 'an entry of a sparse map');
  };
  const count = nextNumber();
  if (count < 0 || count > PARTS_MAX) throw malformed('a sparse map has too many parts');
  const pairs = Array.from({ length: 2 * count }, nextNumber);
  const mapBytes = Math.ceil((at - offset) / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  if (mapBytes > length) throw malformed('a sparse map is longer than its member');
  return sparseMap(pairs, sizeBytes, {
    window,
    offset: offset + mapBytes,
    length: length - mapBytes,
  });
}
