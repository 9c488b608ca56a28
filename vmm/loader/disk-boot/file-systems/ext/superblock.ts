/** ext2, ext3 and ext4: Linux's Documentation/filesystems/ext4, "Super Block", "Block Group Descriptors". */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import { checkFeatures, type Features } from '../features.ts';

const SUPERBLOCK_OFFSET = 1024;
const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;
const BLOCK_BITS_MIN = 10;
const BLOCK_BITS_MAX = 16;
const INODE_BYTES_V0 = 128;
const DESCRIPTOR_BYTES_32 = 32;
const DESCRIPTOR_BYTES_64 = 64;
const DESCRIPTOR_BYTES_MAX = 1024;

const COMPAT_SPARSE_SUPER2 = 0x200;
const RO_COMPAT_SPARSE_SUPER = 0x1;
const INCOMPAT_META_BG = 0x10;
const INCOMPAT_64BIT = 0x80;

const INCOMPAT_FEATURES: Features = [
  [0x1, 'compression', false],
  [0x2, 'filetype', true],
  // The journal is not replayed: GRUB does not either, and its content is older, but consistent enough.
  [0x4, 'needs_recovery', true],
  [0x8, 'journal_dev', false],
  [INCOMPAT_META_BG, 'meta_bg', true],
  [0x40, 'extents', true],
  [INCOMPAT_64BIT, '64bit', true],
  [0x100, 'mmp', true],
  [0x200, 'flex_bg', true],
  [0x400, 'ea_inode', true],
  [0x1000, 'dirdata', false],
  [0x2000, 'metadata_csum_seed', true],
  [0x4000, 'large_dir', true],
  [0x8000, 'inline_data', true],
  [0x10000, 'encrypt', true],
  [0x20000, 'casefold', true],
];

export interface Superblock {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly inodes: number;
  readonly inodeBytes: number;
  readonly uuid: string;
  readonly label: string;
  /** The inode table of a block group, in bytes from the start of the volume. */
  inodeTableOffset(group: number): number;
  readonly inodesPerGroup: number;
}

export function isExt(volume: Volume): boolean {
  if (volume.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) return false;
  return volume.read(SUPERBLOCK_OFFSET, 64, 'superblock').u16(0x38) === MAGIC;
}

/** @throws TsvmError `invalid-disk` for sizes that lie and for features that are not supported */
export function readSuperblock(volume: Volume): Superblock {
  const fields = volume.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES, 'ext4 superblock');
  const isDynamic = fields.u32(0x4c) > 0;
  const incompat = isDynamic ? fields.u32(0x60) : 0;
  checkFeatures(volume, 'ext4', INCOMPAT_FEATURES, incompat);
  const blockBits = BLOCK_BITS_MIN + fields.u32(0x18);
  if (blockBits > BLOCK_BITS_MAX) throw fields.invalid(`blocks of 2^${blockBits} bytes`);
  const blockBytes = 2 ** blockBits;
  const inodeBytes = isDynamic ? fields.u16(0x58) : INODE_BYTES_V0;
  if (inodeBytes < INODE_BYTES_V0 || inodeBytes > blockBytes) {
    throw fields.invalid(`inodes of ${inodeBytes} bytes`);
  }
  const inodesPerGroup = fields.u32(0x28);
  if (inodesPerGroup === 0) throw fields.invalid('groups without inodes');
  return {
    blockBytes,
    blocks: fields.u32(4) + (incompat & INCOMPAT_64BIT ? fields.u32(0x150) * 2 ** 32 : 0),
    inodes: fields.u32(0),
    inodeBytes,
    inodesPerGroup,
    uuid: fields.uuid(0x68),
    label: fields.text(0x78, 16),
    inodeTableOffset: groupDescriptors(volume, fields, blockBytes, incompat),
  };
}

function groupDescriptors(
  volume: Volume,
  superblock: Fields,
  blockBytes: number,
  incompat: number,
): Superblock['inodeTableOffset'] {
  const is64Bit = (incompat & INCOMPAT_64BIT) !== 0;
  const descriptorBytes = is64Bit ? superblock.u16(0xfe) : DESCRIPTOR_BYTES_32;
  const leastBytes = is64Bit ? DESCRIPTOR_BYTES_64 : DESCRIPTOR_BYTES_32;
  if (descriptorBytes < leastBytes || descriptorBytes > DESCRIPTOR_BYTES_MAX) {
    throw superblock.invalid(`group descriptors of ${descriptorBytes} bytes`);
  }
  const firstDataBlock = superblock.u32(0x14);
  const blocksPerGroup = superblock.u32(0x20);
  const perBlock = Math.floor(blockBytes / descriptorBytes);
  const firstMetaGroup = incompat & INCOMPAT_META_BG ? superblock.u32(0x104) : Infinity;
  const place = (group: number): number => {
    const tableBlock = Math.floor(group / perBlock);
    // Blocks of 1 KiB: the superblock is block 1, which bigalloc has inside the first group.
    const superblockBlock = blockBytes === SUPERBLOCK_OFFSET ? 1 : 0;
    if (tableBlock < firstMetaGroup) return superblockBlock + 1 + tableBlock;
    const metaGroup = tableBlock * perBlock;
    const offset = hasSuperblock(superblock, metaGroup) ? 1 : 0;
    const extra = superblockBlock > firstDataBlock && metaGroup === 0 ? 1 : 0;
    return firstDataBlock + metaGroup * blocksPerGroup + offset + extra;
  };
  return (group) => {
    const offset = place(group) * blockBytes + (group % perBlock) * descriptorBytes;
    const descriptor = volume.read(offset, descriptorBytes, `descriptor of group ${group}`);
    const high = is64Bit ? descriptor.u32(0x28) : 0;
    return (descriptor.u32(8) + high * 2 ** 32) * blockBytes;
  };
}

/** Whether a group begins with a copy of the superblock. */
function hasSuperblock(superblock: Fields, group: number): boolean {
  if (group === 0) return true;
  if (superblock.u32(0x5c) & COMPAT_SPARSE_SUPER2) {
    return group === superblock.u32(0x24c) || group === superblock.u32(0x250);
  }
  if (group === 1 || (superblock.u32(0x64) & RO_COMPAT_SPARSE_SUPER) === 0) return true;
  return [3, 5, 7].some((base) => isPower(group, base));
}

function isPower(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}
