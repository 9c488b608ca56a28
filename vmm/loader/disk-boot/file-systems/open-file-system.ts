import type { Volume } from '../disk-source.ts';
import { openBtrfs } from './btrfs/btrfs-file-system.ts';
import { isBtrfs } from './btrfs/superblock.ts';
import { openExt } from './ext/ext-file-system.ts';
import { isExt } from './ext/superblock.ts';
import { isFat } from './fat/boot-sector.ts';
import { openFat } from './fat/fat-file-system.ts';
import type { FileSystem } from './file-system.ts';
import { unreadableContent } from './unreadable-content.ts';
import { isXfs } from './xfs/superblock.ts';
import { openXfs } from './xfs/xfs-file-system.ts';

/** Whether a volume has content of a kind, and what opens it. */
const READERS: readonly (readonly [
  recognises: (volume: Volume) => boolean,
  open: (volume: Volume) => FileSystem,
])[] = [
  [isExt, openExt],
  [isXfs, openXfs],
  [isBtrfs, openBtrfs],
  [isFat, openFat],
];

/**
 * Opens the file system of a volume.
 * @throws TsvmError `invalid-disk` when it is damaged, or content that is known and not read, by its
 * name; undefined for unknown content
 */
export function openFileSystem(volume: Volume): FileSystem | undefined {
  const unreadable = unreadableContent(volume);
  if (unreadable !== undefined) {
    throw volume.invalid(`${unreadable.name}, which tsvm does not read`);
  }
  const [, open] = READERS.find(([recognises]) => recognises(volume)) ?? [];
  return open?.(volume);
}
