import { DIRENT_BYTES, entryType, writeUInt64 } from './erofs-format.ts';
import type { Directory, Inode } from './inode.ts';

/** A directory's names in the order of their bytes, `.` and `..` among them. */
export function sortedNames(directory: Directory): string[] {
  return ['.', '..', ...directory.entries.keys()].sort();
}

/** How many of the names from `from` on a block holds, and what they take there. */
export function blockOf(
  names: readonly string[],
  from: number,
  blockBytes: number,
): { readonly end: number; readonly bytes: number } {
  let bytes = 0;
  let end = from;
  for (; end < names.length; end++) {
    const more = DIRENT_BYTES + (names[end]?.length ?? 0);
    if (bytes + more > blockBytes) break;
    bytes += more;
  }
  return { end, bytes };
}

/** A directory's size in bytes: all its blocks are full but the last, which ends with its last name. */
export function directoryBytes(names: readonly string[], blockBytes: number): number {
  let size = 0;
  for (let from = 0; from < names.length; ) {
    const { end, bytes } = blockOf(names, from, blockBytes);
    size += end < names.length ? blockBytes : bytes;
    from = end;
  }
  return size;
}

/**
 * Writes a directory's blocks to `target`, which is zero and has its size. A block is an array of
 * entries (`struct erofs_dirent`), then their names.
 */
export function encodeDirectory(
  target: Buffer,
  names: readonly string[],
  inodeOf: (name: string) => Inode,
  blockBytes: number,
): void {
  let start = 0;
  for (let from = 0; from < names.length; start += blockBytes) {
    const { end } = blockOf(names, from, blockBytes);
    let nameOffset = (end - from) * DIRENT_BYTES;
    for (let index = from; index < end; index++) {
      const name = names[index] ?? '';
      const inode = inodeOf(name);
      const at = start + (index - from) * DIRENT_BYTES;
      writeUInt64(target, inode.nid, at);
      target.writeUInt16LE(nameOffset, at + 8);
      target.writeUInt8(entryType(inode), at + 10);
      target.write(name, start + nameOffset, 'latin1');
      nameOffset += name.length;
    }
    from = end;
  }
}
