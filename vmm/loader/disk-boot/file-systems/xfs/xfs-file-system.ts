import type { Volume } from '../../disk-source.ts';
import type { FileSystem } from '../file-system.ts';
import { XfsInode } from './inode.ts';
import { readXfsGeometry } from './superblock.ts';

/** XFS, versions 4 and 5. @throws TsvmError `invalid-disk` */
export function openXfs(volume: Volume): FileSystem {
  const geometry = readXfsGeometry(volume);
  const { uuid, label, rootInode } = geometry;
  const inode = new XfsInode(volume, geometry, rootInode);
  return { type: 'xfs', uuid, label, ignoresCase: false, roots: [{ inode }] };
}
