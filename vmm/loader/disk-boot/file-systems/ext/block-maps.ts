/** Where a file's blocks are: ext4's "The Contents of inode.i_block". */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import { ExtentList } from '../extent-list.ts';
import type { Superblock } from './superblock.ts';

const EXTENT_MAGIC = 0xf30a;
const EXTENT_HEADER_BYTES = 12;
const EXTENT_BYTES = 12;
const EXTENT_DEPTH_MAX = 5;
/** Longer extents are unwritten: they read as zeroes. */
const WRITTEN_BLOCKS_MAX = 0x8000;

/** Reads an extent tree, whose root is in the inode. */
export function readExtentTree(
  volume: Volume,
  { blockBytes }: Superblock,
  root: Fields,
  what: string,
): ExtentList {
  const list = new ExtentList(volume, blockBytes, what);
  const walk = (node: Fields, depthMax: number): void => {
    if (node.u16(0) !== EXTENT_MAGIC) throw node.invalid('no extent header');
    const count = node.u16(2);
    const depth = node.u16(6);
    // Each level must be lower than the one above it, so that no circle is followed.
    if (depth > depthMax)
      throw node.invalid(`depth ${depth} where at most ${depthMax} is possible`);
    for (let index = 0; index < count; index++) {
      const entry = node.part(EXTENT_HEADER_BYTES + index * EXTENT_BYTES, EXTENT_BYTES);
      if (depth === 0) addExtent(list, entry);
      else {
        const block = entry.u32(4) + entry.u16(8) * 2 ** 32;
        walk(volume.read(block * blockBytes, blockBytes, `extent tree of ${what}`), depth - 1);
      }
    }
  };
  walk(root, EXTENT_DEPTH_MAX);
  return list;
}

function addExtent(list: ExtentList, entry: Fields): void {
  const length = entry.u16(4);
  const isWritten = length <= WRITTEN_BLOCKS_MAX;
  list.add({
    fileBlock: entry.u32(0),
    count: isWritten ? length : length - WRITTEN_BLOCKS_MAX,
    volumeBlock: isWritten ? entry.u32(8) + entry.u16(6) * 2 ** 32 : undefined,
  });
}

const DIRECT_BLOCKS = 12;
const INDIRECT_LEVELS = 3;

/** Reads ext2's map: 12 blocks, then blocks of block numbers in one, two and three levels. */
export function readIndirectMap(
  volume: Volume,
  { blockBytes }: Superblock,
  root: Fields,
  sizeBytes: number,
  what: string,
): ExtentList {
  const list = new ExtentList(volume, blockBytes, what);
  const endBlock = Math.ceil(sizeBytes / blockBytes);
  const perBlock = blockBytes / 4;
  const walk = (block: number, level: number, fileBlock: number): void => {
    if (block === 0 || fileBlock >= endBlock) return;
    if (level === 0) {
      list.add({ fileBlock, count: 1, volumeBlock: block });
      return;
    }
    const table = volume.read(block * blockBytes, blockBytes, `indirect block of ${what}`);
    const step = perBlock ** (level - 1);
    for (let index = 0; index < perBlock && fileBlock + index * step < endBlock; index++) {
      walk(table.u32(index * 4), level - 1, fileBlock + index * step);
    }
  };
  for (let index = 0; index < DIRECT_BLOCKS; index++) walk(root.u32(index * 4), 0, index);
  let fileBlock = DIRECT_BLOCKS;
  for (let level = 1; level <= INDIRECT_LEVELS; level++) {
    walk(root.u32((DIRECT_BLOCKS + level - 1) * 4), level, fileBlock);
    fileBlock += perBlock ** level;
  }
  return list;
}
