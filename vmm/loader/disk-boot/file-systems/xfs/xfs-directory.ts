/** "Directories". What only serves lookups by hash is skipped. */
import { decodeBytes } from '../../../../util/byte-names.ts';
import type { Fields } from '../../fields.ts';
import type { XfsGeometry } from './superblock.ts';

export interface XfsEntry {
  readonly name: string;
  readonly inode: number;
}

const DATA_HEADER_BYTES_V4 = 16;
const DATA_HEADER_BYTES_V5 = 64;
/** Blocks with entries: a single one, which ends with the hashes, and one of several. */
const BLOCK_MAGICS = ['XD2B', 'XDB3'];
const DATA_MAGICS = ['XD2D', 'XDD3'];
const FREE_TAG = 0xffff;
const TAIL_BYTES = 8;
const HASH_BYTES = 8;
const ENTRY_ALIGN = 8;

/** "Short Form Directories": in the inode. */
export function parseShortForm(fork: Fields, { hasFileType }: XfsGeometry): XfsEntry[] {
  const count = fork.u8(0);
  const isLarge = fork.u8(1) > 0;
  const inodeBytes = isLarge ? 8 : 4;
  const found: XfsEntry[] = [];
  let at = 2 + inodeBytes;
  // With 8-byte numbers the first field is 0 and the second has the count.
  for (let left = Math.max(count, fork.u8(1)); left > 0; left--) {
    const nameBytes = fork.u8(at);
    const name = decodeBytes(fork.slice(at + 3, nameBytes));
    at += 3 + nameBytes + (hasFileType ? 1 : 0);
    found.push({ name, inode: isLarge ? fork.u64(at) : fork.u32(at) });
    at += inodeBytes;
  }
  return found;
}

/** The entries of a directory block; none in a block of another kind. */
export function parseDirectoryBlock(block: Fields, geometry: XfsGeometry): XfsEntry[] {
  const isSingle = BLOCK_MAGICS.some((magic) => block.has(0, magic));
  if (!isSingle && !DATA_MAGICS.some((magic) => block.has(0, magic))) return [];
  let end = block.sizeBytes;
  if (isSingle) end -= TAIL_BYTES + block.u32(end - TAIL_BYTES) * HASH_BYTES;
  const found: XfsEntry[] = [];
  let at = geometry.isV5 ? DATA_HEADER_BYTES_V5 : DATA_HEADER_BYTES_V4;
  while (at < end) {
    if (block.u16(at) === FREE_TAG) {
      const length = block.u16(at + 2);
      if (length < ENTRY_ALIGN || length % ENTRY_ALIGN !== 0) {
        throw block.invalid(`unused space of ${length} bytes`);
      }
      at += length;
      continue;
    }
    const nameBytes = block.u8(at + 8);
    const name = decodeBytes(block.slice(at + 9, nameBytes));
    if (name !== '.' && name !== '..') found.push({ name, inode: block.u64(at) });
    const usedBytes = 9 + nameBytes + (geometry.hasFileType ? 1 : 0) + 2;
    at += Math.ceil(usedBytes / ENTRY_ALIGN) * ENTRY_ALIGN;
  }
  return found;
}
