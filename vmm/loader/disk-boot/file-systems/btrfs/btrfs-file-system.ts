import { decodeBytes } from '../../../../util/byte-names.ts';
import type { Volume } from '../../disk-source.ts';
import type { FileSystem, Root } from '../file-system.ts';
import { ChunkMap } from './chunk-map.ts';
import { ExtentReader } from './file-extents.ts';
import { BtrfsInode, type Subvolumes } from './inode.ts';
import { type BtrfsSuperblock, readBtrfsSuperblock, type TreeRoot } from './superblock.ts';
import { readKey, TreeReader } from './tree.ts';

const CHUNK_TREE_OBJECT = 256n;
const ROOT_TREE_DIRECTORY = 6n;
const TOP_LEVEL = 5n;
const TYPE_DIR_ITEM = 84;
const TYPE_ROOT_ITEM = 132;
const TYPE_CHUNK_ITEM = 228;
const KEY_BYTES = 17;
const ROOT_DIRECTORY = 256n;
/** Names that distributions give to the subvolume of a system. */
const SYSTEM_SUBVOLUMES = ['@', 'root', '@rootfs'];

/** btrfs, of which one device has all that is read. @throws TsvmError `invalid-disk` */
export function openBtrfs(volume: Volume): FileSystem {
  const superblock = readBtrfsSuperblock(volume);
  const chunks = readSystemChunks(volume, superblock);
  const trees = new TreeReader(volume, chunks, superblock);
  for (const { key, data } of trees.items(
    superblock.chunkTree,
    CHUNK_TREE_OBJECT,
    TYPE_CHUNK_ITEM,
  )) {
    chunks.add(Number(key.offset), data);
  }
  const subvolumes: Subvolumes = {
    volume,
    trees,
    extents: new ExtentReader(volume, chunks, superblock.sectorBytes),
    rootOf: (id) => rootOf(volume, trees, superblock.rootTree, id),
  };
  return {
    type: 'btrfs',
    uuid: superblock.uuid,
    label: superblock.label,
    ignoresCase: false,
    roots: findRoots(subvolumes, superblock.rootTree),
  };
}

function readSystemChunks(volume: Volume, superblock: BtrfsSuperblock): ChunkMap {
  const { systemChunks, deviceId } = superblock;
  const chunks = new ChunkMap(volume, deviceId);
  for (let at = 0; at + KEY_BYTES < systemChunks.sizeBytes; ) {
    const item = at + KEY_BYTES;
    const { offset } = readKey(systemChunks, at);
    const rest = systemChunks.part(item, systemChunks.sizeBytes - item);
    at = item + chunks.add(Number(offset), rest);
  }
  return chunks;
}

/** The root of a subvolume's tree: `struct btrfs_root_item`. */
function rootOf(volume: Volume, trees: TreeReader, rootTree: TreeRoot, id: bigint): TreeRoot {
  const item = [...trees.items(rootTree, id, TYPE_ROOT_ITEM)].at(-1);
  if (item === undefined) throw volume.invalid(`there is no subvolume ${id}`);
  return { address: item.data.u64(176), level: item.data.u8(238) };
}

/** The top level, then the subvolumes that a system may be in: the default one first. */
function findRoots(subvolumes: Subvolumes, rootTree: TreeRoot): [Root, ...Root[]] {
  const { trees } = subvolumes;
  const topLevel = new BtrfsInode(subvolumes, subvolumes.rootOf(TOP_LEVEL), ROOT_DIRECTORY);
  const others: Root[] = [];
  for (const { data } of trees.items(rootTree, ROOT_TREE_DIRECTORY, TYPE_DIR_ITEM)) {
    const isDefault = decodeBytes(data.slice(30, data.u16(27))) === 'default';
    const { objectId } = readKey(data, 0);
    if (!isDefault || objectId === TOP_LEVEL) continue;
    const inode = new BtrfsInode(subvolumes, subvolumes.rootOf(objectId), ROOT_DIRECTORY);
    others.push({ inode });
  }
  for (const name of SYSTEM_SUBVOLUMES) {
    const inode = topLevel.subvolume(name);
    if (inode !== undefined) others.push({ inode, subvolume: name });
  }
  return [{ inode: topLevel }, ...others];
}
