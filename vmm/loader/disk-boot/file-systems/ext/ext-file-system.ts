import type { Volume } from '../../disk-source.ts';
import type { FileSystem } from '../file-system.ts';
import { ExtInode } from './inode.ts';
import { readSuperblock } from './superblock.ts';

const ROOT_INODE = 2;

/** ext2, ext3 or ext4. @throws TsvmError `invalid-disk` */
export function openExt(volume: Volume): FileSystem {
  const superblock = readSuperblock(volume);
  return {
    type: 'ext4',
    uuid: superblock.uuid,
    label: superblock.label,
    ignoresCase: false,
    roots: [{ inode: new ExtInode(volume, superblock, ROOT_INODE) }],
  };
}
