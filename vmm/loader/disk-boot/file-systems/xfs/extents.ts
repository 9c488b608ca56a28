/** Where a file's blocks are: "Data Fork", "Extent List" and "B+tree Extent List". */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import { ExtentList } from '../extent-list.ts';
import { blockOffset, type XfsGeometry } from './superblock.ts';

const RECORD_BYTES = 16;
const ROOT_HEADER_BYTES = 4;
const KEY_BYTES = 8;
const POINTER_BYTES = 8;
const MAGIC_V4 = 'BMAP';
const MAGIC_V5 = 'BMA3';
const HEADER_BYTES_V4 = 24;
const HEADER_BYTES_V5 = 72;
/** XFS_BTREE_MAXLEVELS. */
const LEVELS_MAX = 9;

/** The extents in a fork that has them itself. */
export function readExtentList(
  volume: Volume,
  geometry: XfsGeometry,
  fork: Fields,
  count: number,
  what: string,
): ExtentList {
  const list = new ExtentList(volume, geometry.blockBytes, what);
  addRecords(list, geometry, fork, 0, count);
  return list;
}

/** The extents in a tree whose root is in the fork. */
export function readExtentTree(
  volume: Volume,
  geometry: XfsGeometry,
  fork: Fields,
  what: string,
): ExtentList {
  const { blockBytes, isV5 } = geometry;
  const list = new ExtentList(volume, blockBytes, what);
  const headerBytes = isV5 ? HEADER_BYTES_V5 : HEADER_BYTES_V4;
  const magic = isV5 ? MAGIC_V5 : MAGIC_V4;
  const walk = (block: number, level: number): void => {
    const offset = blockOffset(fork, geometry, block);
    const node = volume.read(offset, blockBytes, `extent tree of ${what}`, 'big');
    // Each level is the one below the last, so that no circle is followed.
    if (!node.has(0, magic) || node.u16(4) !== level) {
      throw node.invalid(`block ${block} is not a node of level ${level}`);
    }
    const count = node.u16(6);
    if (level === 0) addRecords(list, geometry, node, headerBytes, count);
    else walkPointers(node, headerBytes, blockBytes, count, level);
  };
  /** Keys come first, as many as there is room for, then pointers. */
  const walkPointers = (
    node: Fields,
    headerBytes: number,
    endBytes: number,
    count: number,
    level: number,
  ): void => {
    const room = Math.floor((endBytes - headerBytes) / (KEY_BYTES + POINTER_BYTES));
    if (count > room) throw node.invalid(`${count} children in a node for ${room}`);
    for (let index = 0; index < count; index++) {
      walk(node.u64(headerBytes + room * KEY_BYTES + index * POINTER_BYTES), level - 1);
    }
  };
  const level = fork.u16(0);
  if (level < 1 || level > LEVELS_MAX) throw fork.invalid(`an extent tree of ${level} levels`);
  walkPointers(fork, ROOT_HEADER_BYTES, fork.sizeBytes, fork.u16(2), level);
  return list;
}

/** A record has 1 bit "unwritten", 54 of the file's block, 52 of the place, 21 of the length. */
function addRecords(
  list: ExtentList,
  geometry: XfsGeometry,
  fields: Fields,
  offset: number,
  count: number,
): void {
  for (let index = 0; index < count; index++) {
    const high = fields.big64(offset + index * RECORD_BYTES);
    const low = fields.big64(offset + index * RECORD_BYTES + 8);
    const isUnwritten = high >> 63n !== 0n;
    const place = Number(((high & 0x1ffn) << 43n) | (low >> 21n));
    const blocks = blockOffset(fields, geometry, place) / geometry.blockBytes;
    list.add({
      fileBlock: Number((high >> 9n) & 0x3f_ffff_ffff_ffffn),
      count: Number(low & 0x1f_ffffn),
      volumeBlock: isUnwritten ? undefined : blocks,
    });
  }
}
