/** btrfs: "On-disk Format" of its documentation, `struct btrfs_super_block`. */
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';

const SUPERBLOCK_OFFSET = 64 * 1024;
const SUPERBLOCK_BYTES = 4096;
const MAGIC_OFFSET = 0x40;
const MAGIC = '_BHRfS_M';
const NODE_BYTES_MAX = 64 * 1024;
const SYSTEM_CHUNKS_OFFSET = 0x32b;
const SYSTEM_CHUNKS_BYTES_MAX = 2048;
/** RAID profiles are judged chunk by chunk; all else that a reader must know is in this mask. */
const INCOMPAT_KNOWN = 0xfffn;
const INCOMPAT_NAMES: Readonly<Record<string, string>> = {
  '4096': 'zoned',
  '8192': 'extent-tree-v2',
  '16384': 'raid-stripe-tree',
  '65536': 'simple-quota',
};
/** It only adds records that a reader does not look at. */
const INCOMPAT_HARMLESS = 0x10000n;

export interface BtrfsSuperblock {
  readonly uuid: string;
  readonly label: string;
  readonly sectorBytes: number;
  readonly nodeBytes: number;
  readonly deviceId: bigint;
  readonly rootTree: TreeRoot;
  readonly chunkTree: TreeRoot;
  /** The chunks that contain the chunk tree: keys and items in turn. */
  readonly systemChunks: Fields;
}

/** A tree's root node: its logical address and its level. */
export interface TreeRoot {
  readonly address: number;
  readonly level: number;
}

export function isBtrfs(volume: Volume): boolean {
  if (volume.sizeBytes < SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES) return false;
  return volume.read(SUPERBLOCK_OFFSET + MAGIC_OFFSET, MAGIC.length, 'superblock').has(0, MAGIC);
}

/** @throws TsvmError `invalid-disk` for sizes that lie and for features that are not supported */
export function readBtrfsSuperblock(volume: Volume): BtrfsSuperblock {
  const fields = volume.read(SUPERBLOCK_OFFSET, SUPERBLOCK_BYTES, 'btrfs superblock');
  const unknown = fields.big64(0xbc) & ~INCOMPAT_KNOWN & ~INCOMPAT_HARMLESS;
  if (unknown !== 0n) {
    const name = INCOMPAT_NAMES[String(unknown)] ?? `0x${unknown.toString(16)}`;
    throw volume.invalid(`btrfs with the feature ${name}, which tsvm does not read`);
  }
  const sectorBytes = fields.u32(0x90);
  const nodeBytes = fields.u32(0x94);
  for (const size of [sectorBytes, nodeBytes]) {
    if (size < 512 || size > NODE_BYTES_MAX || (size & (size - 1)) !== 0) {
      throw fields.invalid(`a sector or node of ${size} bytes`);
    }
  }
  const chunksBytes = fields.u32(0xa0);
  if (chunksBytes > SYSTEM_CHUNKS_BYTES_MAX) {
    throw fields.invalid(`${chunksBytes} bytes of system chunks`);
  }
  return {
    uuid: fields.uuid(0x20),
    label: fields.text(0x12b, 256),
    sectorBytes,
    nodeBytes,
    deviceId: fields.big64(0xc9),
    rootTree: { address: fields.u64(0x50), level: fields.u8(0xc6) },
    chunkTree: { address: fields.u64(0x58), level: fields.u8(0xc7) },
    systemChunks: fields.part(SYSTEM_CHUNKS_OFFSET, chunksBytes),
  };
}
