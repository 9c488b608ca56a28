import { posix } from 'node:path';
import { decodeBytes } from '../../../util/byte-names.ts';
import { printable } from '../../../util/printable.ts';
import type { FileSystem, Inode, Root } from '../file-systems/file-system.ts';
import { findPath } from '../file-systems/find-path.ts';
import type { PartitionUse } from '../partition-table/partition.ts';
import type { DiskFile } from './boot-entry.ts';

/** Configuration files are text; boot loaders' own take far less. */
const TEXT_BYTES_MAX = 4 * 2 ** 20;

/** A file system on the disk that is searched. */
export interface SearchedVolume {
  /** `partition 2`, or `the disk`. */
  readonly name: string;
  readonly use: PartitionUse;
  /** GRUB's name: `hd0,gpt2`. */
  readonly grubDevice: string;
  /** Linux's number, 0 for the whole disk. */
  readonly partition: number;
  readonly fileSystem: FileSystem;
}

interface Found {
  readonly inode: Inode;
  readonly root: Root;
}

/** Finds a path below one of the roots of a volume. @throws TsvmError `invalid-disk` */
function find(
  { fileSystem }: SearchedVolume,
  path: string,
  kind: Inode['kind'],
): Found | undefined {
  for (const root of fileSystem.roots) {
    const inode = findPath(fileSystem, root, path);
    if (inode?.kind === kind) return { inode, root };
  }
  return undefined;
}

/** A file of a volume; undefined when there is none. @throws TsvmError `invalid-disk` */
export function findFile(volume: SearchedVolume, path: string): DiskFile | undefined {
  const found = find(volume, path, 'file');
  if (found === undefined) return undefined;
  const { inode } = found;
  return {
    place: `${volume.name}: ${printable(posix.join('/', path))}`,
    sizeBytes: inode.sizeBytes,
    // A directory entry has one inode object, however often it is opened.
    identity: inode,
    read: (offset, length) => inode.read(offset, length),
  };
}

/** Names in a directory; none when there is no such directory. @throws TsvmError `invalid-disk` */
export function listNames(volume: SearchedVolume, path: string): string[] {
  const found = find(volume, path, 'directory');
  return found === undefined ? [] : found.inode.entries().map(({ name }) => name);
}

/** The root below which a path of a volume is, and whether there is such a directory. */
export function rootOfDirectory(volume: SearchedVolume, path: string): Root | undefined {
  return find(volume, path, 'directory')?.root;
}

/** A text file. @throws TsvmError `invalid-disk` for one that is too large */
export function readText(file: DiskFile): string {
  if (file.sizeBytes > TEXT_BYTES_MAX) return '';
  return decodeBytes(file.read(0, file.sizeBytes));
}
