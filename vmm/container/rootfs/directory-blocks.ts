import { DIRENT_BYTES, entryType, writeUInt64 } from './erofs-format.ts';
import type { OrderedDirectory } from './inode-order.ts';

/** Longer names are written by Node: the call is faster than a loop from this length on. */
const SHORT_NAME = 48;

/** How many names, starting at `from`, fit into a block, and how many bytes they take. */
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

/** A directory's size in bytes. All blocks are full except the last, which ends with its last name. */
export function directoryBytes({ names }: OrderedDirectory, blockBytes: number): number {
  let size = 0;
  for (let from = 0; from < names.length; ) {
    const { end, bytes } = blockOf(names, from, blockBytes);
    size += end < names.length ? blockBytes : bytes;
    from = end;
  }
  return size;
}

/**
 * Writes a directory's blocks to `target`, a zeroed array of its size. A block has an array of entries
 * (`struct erofs_dirent`), then their names.
 */
export function encodeDirectory(
  target: Buffer,
  { names, inodes }: OrderedDirectory,
  blockBytes: number,
): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let start = 0;
  for (let from = 0; from < names.length; start += blockBytes) {
    const { end } = blockOf(names, from, blockBytes);
    let nameOffset = (end - from) * DIRENT_BYTES;
    for (let index = from; index < end; index++) {
      const name = names[index] ?? '';
      const inode = inodes[index];
      if (inode === undefined) throw new RangeError('a name stands for nothing');
      const at = start + (index - from) * DIRENT_BYTES;
      writeUInt64(view, inode.nid, at);
      view.setUint16(at + 8, nameOffset, true);
      view.setUint8(at + 10, entryType(inode));
      writeName(target, name, start + nameOffset);
      nameOffset += name.length;
    }
    from = end;
  }
}

function writeName(target: Buffer, name: string, at: number): void {
  if (name.length > SHORT_NAME) {
    target.write(name, at, 'latin1');
    return;
  }
  for (let index = 0; index < name.length; index++) target[at + index] = name.charCodeAt(index);
}
