import { decodeBytes } from '../../../../util/byte-names.ts';
import { once } from '../../../../util/once.ts';
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import { type DirectoryEntry, type Inode, type InodeKind, kindOfMode } from '../file-system.ts';
import { readExtentTree, readIndirectMap } from './block-maps.ts';
import { inlineData } from './inline-data.ts';
import type { Superblock } from './superblock.ts';

const FLAG_ENCRYPTED = 0x800;
const FLAG_EXTENTS = 0x80000;
const FLAG_INLINE_DATA = 0x10000000;
const BLOCK_MAP_OFFSET = 0x28;
const BLOCK_MAP_BYTES = 60;
/** Directories of ext4 have at most 2 GiB; one of so many bytes is no folder of kernels. */
const DIRECTORY_BYTES_MAX = 16 * 2 ** 20;
const ENTRY_HEADER_BYTES = 8;
/** The parent's number, before the entries of an inline directory. */
const INLINE_PARENT_BYTES = 4;

/** An inode of ext2, ext3 or ext4: "Index Nodes". */
export class ExtInode implements Inode {
  readonly kind: InodeKind;
  readonly sizeBytes: number;
  readonly entries: () => readonly DirectoryEntry[];
  readonly #volume: Volume;
  readonly #superblock: Superblock;
  readonly #number: number;
  readonly #fields: Fields;
  readonly #flags: number;
  readonly #content: () => Pick<Inode, 'read'>;

  constructor(volume: Volume, superblock: Superblock, number: number) {
    this.#volume = volume;
    this.#superblock = superblock;
    this.#number = number;
    if (number < 1 || number > superblock.inodes) {
      throw volume.invalid(`there is no inode ${number}`);
    }
    const group = Math.floor((number - 1) / superblock.inodesPerGroup);
    const index = (number - 1) % superblock.inodesPerGroup;
    const { inodeBytes } = superblock;
    const offset = superblock.inodeTableOffset(group) + index * inodeBytes;
    this.#fields = volume.read(offset, inodeBytes, `inode ${number}`);
    this.kind = kindOfMode(this.#fields.u16(0));
    this.#flags = this.#fields.u32(0x20);
    const hasHighSize = this.kind === 'file' || this.kind === 'directory';
    const high = hasHighSize ? this.#fields.u32(0x6c) : 0;
    this.sizeBytes = this.#fields.u32(4) + high * 2 ** 32;
    this.#content = once(() => this.#openContent());
    this.entries = once(() => this.#readEntries());
  }

  read(offset: number, length: number): Uint8Array {
    return this.#content().read(offset, length);
  }

  #openContent(): Pick<Inode, 'read'> {
    const what = `inode ${this.#number}`;
    if (this.#flags & FLAG_ENCRYPTED) throw this.#volume.invalid(`${what} is encrypted`);
    const root = this.#fields.part(BLOCK_MAP_OFFSET, BLOCK_MAP_BYTES);
    if (this.#flags & FLAG_INLINE_DATA) return bytesContent(inlineData(this.#fields, root));
    if (this.#flags & FLAG_EXTENTS) {
      return readExtentTree(this.#volume, this.#superblock, root, what);
    }
    // A short link's target is in place of the map.
    if (this.kind === 'symlink' && this.sizeBytes < BLOCK_MAP_BYTES)
      return bytesContent(root.bytes);
    return readIndirectMap(this.#volume, this.#superblock, root, this.sizeBytes, what);
  }

  #readEntries(): readonly DirectoryEntry[] {
    const { sizeBytes } = this;
    if (sizeBytes > DIRECTORY_BYTES_MAX) {
      throw this.#volume.invalid(`a directory of ${sizeBytes} bytes is too large`);
    }
    this.#volume.spend(sizeBytes);
    const isInline = (this.#flags & FLAG_INLINE_DATA) !== 0;
    const content = this.read(0, sizeBytes);
    if (!isInline) return this.#parseBlocks(content, this.#superblock.blockBytes);
    return [
      ...this.#parseBlocks(content.subarray(INLINE_PARENT_BYTES, BLOCK_MAP_BYTES), BLOCK_MAP_BYTES),
      ...this.#parseBlocks(content.subarray(BLOCK_MAP_BYTES), sizeBytes),
    ];
  }

  /** "Directory Entries". The inner nodes of hash trees look like one unused entry. */
  #parseBlocks(content: Uint8Array, blockBytes: number): DirectoryEntry[] {
    const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
    const found: DirectoryEntry[] = [];
    let at = 0;
    while (at + ENTRY_HEADER_BYTES <= content.length) {
      const inode = view.getUint32(at, true);
      const entryBytes = view.getUint16(at + 4, true);
      const nameBytes = view.getUint8(at + 6);
      const blockEnd = Math.min(content.length, (Math.floor(at / blockBytes) + 1) * blockBytes);
      // In blocks of 64 KiB, 0 and 0xffff stand for the whole block.
      const isWhole = entryBytes === 0xffff || (entryBytes === 0 && blockBytes === 0x10000);
      const end = isWhole ? blockEnd : at + entryBytes;
      const nameEnd = at + ENTRY_HEADER_BYTES + nameBytes;
      if (end < at + ENTRY_HEADER_BYTES || end > blockEnd || (inode !== 0 && nameEnd > end)) {
        // A damaged block: the others may still be good, as for GRUB.
        at = blockEnd;
        continue;
      }
      const name = decodeBytes(content.subarray(at + ENTRY_HEADER_BYTES, nameEnd));
      if (inode !== 0 && name !== '' && name !== '.' && name !== '..') {
        found.push({ name, open: once(() => this.#open(inode)) });
      }
      at = end;
    }
    return found;
  }

  #open(number: number): Inode {
    return new ExtInode(this.#volume, this.#superblock, number);
  }
}

function bytesContent(bytes: Uint8Array): Pick<Inode, 'read'> {
  return {
    read: (offset, length) => {
      const target = new Uint8Array(length);
      target.set(bytes.subarray(offset, offset + length));
      return target;
    },
  };
}
