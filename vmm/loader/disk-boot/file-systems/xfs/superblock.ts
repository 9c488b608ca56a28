/** XFS: "XFS Algorithms & Data Structures", 3rd edition, "Superblocks". All numbers are big-endian. */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import { checkFeatures, type Features } from '../features.ts';

const MAGIC = 'XFSB';
const SUPERBLOCK_BYTES = 512;
const VERSION_DIRV2 = 0x2000;
const FEATURES2_FTYPE = 0x200;
const INCOMPAT_FTYPE = 0x1;
const INCOMPAT_FEATURES: Features = [
  [INCOMPAT_FTYPE, 'ftype', true],
  [0x2, 'sparse inodes', true],
  [0x4, 'meta_uuid', true],
  [0x8, 'bigtime', true],
  [0x10, 'needsrepair', false],
  [0x20, 'nrext64', true],
  [0x40, 'exchange', true],
  [0x80, 'parent', true],
  [0x100, 'metadir', true],
];

export interface XfsGeometry {
  readonly isV5: boolean;
  readonly blockBytes: number;
  readonly blockBits: number;
  readonly inodeBytes: number;
  readonly inodesPerBlockBits: number;
  readonly groupBlocks: number;
  readonly groupBlockBits: number;
  readonly groups: number;
  readonly directoryBlockBytes: number;
  /** Directory entries have a byte for the type of the file. */
  readonly hasFileType: boolean;
  readonly rootInode: number;
  readonly uuid: string;
  readonly label: string;
}

export function isXfs(volume: Volume): boolean {
  if (volume.sizeBytes < SUPERBLOCK_BYTES) return false;
  return volume.read(0, MAGIC.length, 'superblock').has(0, MAGIC);
}

/** @throws TsvmError `invalid-disk` for sizes that lie and for features that are not supported */
export function readXfsGeometry(volume: Volume): XfsGeometry {
  const fields = volume.read(0, SUPERBLOCK_BYTES, 'XFS superblock', 'big');
  const version = fields.u16(100);
  const isV5 = (version & 0xf) === 5;
  if (!isV5 && ((version & 0xf) !== 4 || (version & VERSION_DIRV2) === 0)) {
    throw fields.invalid(`version 0x${version.toString(16)} is not 4 or 5`);
  }
  const incompat = isV5 ? fields.u32(216) : 0;
  checkFeatures(volume, 'XFS', INCOMPAT_FEATURES, incompat);
  const bits = (offset: number, least: number, most: number): number => {
    const value = fields.u8(offset);
    if (value >= least && value <= most) return value;
    throw fields.invalid(`the logarithm ${value} at ${offset} is out of range`);
  };
  const blockBits = bits(120, 9, 16);
  const inodeBits = bits(122, 8, 11);
  const groupBlockBits = bits(124, 1, 31);
  const groupBlocks = fields.u32(84);
  if (inodeBits > blockBits || groupBlocks === 0 || groupBlocks > 2 ** groupBlockBits) {
    throw fields.invalid('its sizes contradict each other');
  }
  return {
    isV5,
    blockBits,
    blockBytes: 2 ** blockBits,
    inodeBytes: 2 ** inodeBits,
    inodesPerBlockBits: blockBits - inodeBits,
    groupBlocks,
    groupBlockBits,
    groups: fields.u32(88),
    directoryBlockBytes: 2 ** (blockBits + bits(192, 0, 16 - blockBits)),
    hasFileType: isV5
      ? (incompat & INCOMPAT_FTYPE) !== 0
      : (fields.u32(200) & FEATURES2_FTYPE) !== 0,
    rootInode: fields.u64(56),
    uuid: fields.uuid(32),
    label: fields.text(108, 12),
  };
}

/** The offset of a block by its number, which has the group's number in its upper bits. */
export function blockOffset(
  structure: Pick<Fields, 'invalid'>,
  geometry: XfsGeometry,
  block: number,
): number {
  const { groupBlockBits, groupBlocks, groups, blockBytes } = geometry;
  const group = Math.floor(block / 2 ** groupBlockBits);
  const inGroup = block % 2 ** groupBlockBits;
  if (group >= groups || inGroup >= groupBlocks) {
    throw structure.invalid(`there is no block ${block}`);
  }
  return (group * groupBlocks + inGroup) * blockBytes;
}
