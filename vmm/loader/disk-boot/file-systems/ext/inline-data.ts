/** Small files inside their inode: ext4's "Inline Data" and "Extended Attributes". */
import type { Fields } from '../../fields.ts';

const INODE_BYTES_V0 = 128;
const EXTRA_BYTES_OFFSET = 0x80;
const ATTRIBUTES_MAGIC = 0xea020000;
const ATTRIBUTE_HEADER_BYTES = 16;
const NAME_INDEX_SYSTEM = 7;
const NAME = 'data';

/** The block map's bytes, followed by the value of the attribute `system.data`, if there is one. */
export function inlineData(inode: Fields, blockMap: Fields): Uint8Array {
  return Buffer.concat([blockMap.bytes, dataAttribute(inode) ?? new Uint8Array(0)]);
}

function dataAttribute(inode: Fields): Uint8Array | undefined {
  if (inode.sizeBytes < INODE_BYTES_V0 + 4) return undefined;
  const header = INODE_BYTES_V0 + inode.u16(EXTRA_BYTES_OFFSET);
  if (header + 4 > inode.sizeBytes || inode.u32(header) !== ATTRIBUTES_MAGIC) return undefined;
  const first = header + 4;
  let at = first;
  // Four zero bytes end the list.
  while (at + ATTRIBUTE_HEADER_BYTES <= inode.sizeBytes && inode.u32(at) !== 0) {
    const nameBytes = inode.u8(at);
    const isData = inode.u8(at + 1) === NAME_INDEX_SYSTEM && nameBytes === NAME.length;
    if (isData && inode.has(at + ATTRIBUTE_HEADER_BYTES, NAME)) {
      return inode.slice(first + inode.u16(at + 2), inode.u32(at + 8));
    }
    at += ATTRIBUTE_HEADER_BYTES + Math.ceil(nameBytes / 4) * 4;
  }
  return undefined;
}
