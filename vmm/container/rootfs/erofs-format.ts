/**
 * EROFS on disk: Linux's fs/erofs/erofs_fs.h and Documentation/filesystems/erofs.rst. All numbers
 * are little-endian.
 */
import { TsvmError } from '../../errors.ts';
import type { Inode } from './inode.ts';

export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 128;
const MAGIC = 0xe0f5e1e2;
const FEATURE_INCOMPAT_CHUNKED_FILE = 0x4;

/** Inodes are numbered by their place, in units of this many bytes. */
export const NID_UNIT_BITS = 5;
export const NID_UNIT_BYTES = 2 ** NID_UNIT_BITS;
/** An extended inode: with 32-bit owners, a time and a 64-bit size. */
export const INODE_BYTES = 64;
/** Alignment of an inode and the file names after it; not shared with another inode. */
export const INODE_ALIGNMENT = 64;
export const DIRENT_BYTES = 12;
export const CHUNK_INDEX_BYTES = 4;
/** `EROFS_NULL_ADDR`: a hole. Blocks up to the one before it can be addressed. */
export const NULL_BLOCK = 0xffffffff;

/** "Data layouts", bits 1 to 3 of `i_format`; bit 0 says that the inode is extended. */
export type DataLayout = 'plain' | 'inline' | 'chunks';
const LAYOUT_NUMBERS: Readonly<Record<DataLayout, number>> = { plain: 0, inline: 2, chunks: 4 };

/** `EROFS_FT_*` of a directory entry, and the file type in a mode. */
const KINDS: Readonly<Record<Inode['kind'], { entry: number; mode: number }>> = {
  file: { entry: 1, mode: 0o100000 },
  directory: { entry: 2, mode: 0o040000 },
  'character-device': { entry: 3, mode: 0o020000 },
  'block-device': { entry: 4, mode: 0o060000 },
  fifo: { entry: 5, mode: 0o010000 },
  symlink: { entry: 7, mode: 0o120000 },
};

export function entryType(inode: Inode): number {
  return KINDS[inode.kind].entry;
}

export interface Superblock {
  readonly blockBits: number;
  readonly rootNid: number;
  readonly inodes: number;
  readonly blocks: number;
  readonly hasChunks: boolean;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
}

export function encodeSuperblock(superblock: Superblock): Buffer {
  const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt8(superblock.blockBits, 12);
  bytes.writeUInt16LE(superblock.rootNid, 14);
  bytes.writeBigUInt64LE(BigInt(superblock.inodes), 16);
  bytes.writeUInt32LE(superblock.blocks, 36);
  // `meta_blkaddr` 0: inodes are numbered from the start of the disk.
  bytes.set(superblock.uuid.subarray(0, 16), 48);
  bytes.writeUInt32LE(superblock.hasChunks ? FEATURE_INCOMPAT_CHUNKED_FILE : 0, 80);
  return bytes;
}

/** The fields of an inode that describe its data. */
export interface InodeData {
  readonly layout: DataLayout;
  /** Bytes. */
  readonly size: number;
  /** `i_u`: first block, format of the chunks, or device number. */
  readonly union: number;
  readonly xattrBytes: number;
  /** `i_ino`: the inode number for 32-bit stat(2). */
  readonly number: number;
}

/** Writes an inode at `at`, where INODE_BYTES are zero. */
export function encodeInode(view: DataView, at: number, inode: Inode, data: InodeData): void {
  const words = data.xattrBytes === 0 ? 0 : (data.xattrBytes - XATTR_HEADER_BYTES) / 4 + 1;
  view.setUint16(at, (LAYOUT_NUMBERS[data.layout] << 1) | 1, true);
  view.setUint16(at + 2, words, true);
  view.setUint16(at + 4, KINDS[inode.kind].mode | inode.mode, true);
  writeUInt64(view, data.size, at + 8);
  view.setUint32(at + 16, data.union, true);
  view.setUint32(at + 20, data.number, true);
  view.setUint32(at + 24, inode.uid, true);
  view.setUint32(at + 28, inode.gid, true);
  writeUInt64(view, inode.mtimeSeconds, at + 32);
  view.setUint32(at + 40, inode.mtimeNanoseconds, true);
  view.setUint32(at + 44, inode.links, true);
}

/** Writes a safe integer in two's complement. */
export function writeUInt64(view: DataView, value: number, at: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** Linux's `new_encode_dev`. */
export function encodeDevice({ deviceMajor, deviceMinor }: Inode): number {
  return ((deviceMinor & 0xff) | (deviceMajor << 8) | ((deviceMinor & ~0xff) << 12)) >>> 0;
}

/** `struct erofs_xattr_ibody_header` without shared attributes. */
const XATTR_HEADER_BYTES = 12;
const XATTR_ENTRY_BYTES = 4;
const XATTR_NAME_BYTES_MAX = 255;
const XATTR_VALUE_BYTES_MAX = 0xffff;
const XATTR_WORDS_MAX = 0xffff;
/** `EROFS_XATTR_INDEX_*`. A prefix without a final dot is a complete name. */
const XATTR_PREFIXES: readonly (readonly [string, number])[] = [
  ['user.', 1],
  ['system.posix_acl_access', 2],
  ['system.posix_acl_default', 3],
  ['trusted.', 4],
  ['security.', 6],
];
/** Attributes reserved for overlayfs: an overlayfs on top of the image would interpret them. */
const OVERLAY_XATTR = /^(?:trusted|user)\.overlay\./;

/** Encodes the extended attributes after an inode, without kinds that Linux does not support. */
export function encodeXattrs(xattrs: ReadonlyMap<string, string>): Buffer {
  const entries: Buffer[] = [];
  for (const [name, value] of xattrs) {
    if (OVERLAY_XATTR.test(name)) continue;
    const found = XATTR_PREFIXES.find(([prefix]) =>
      prefix.endsWith('.') ? name.startsWith(prefix) && name !== prefix : name === prefix,
    );
    if (found === undefined) continue;
    const [prefix, index] = found;
    const suffix = name.slice(prefix.length);
    if (suffix.length > XATTR_NAME_BYTES_MAX || value.length > XATTR_VALUE_BYTES_MAX) {
      throw new TsvmError('invalid-image', 'an extended attribute is longer than Linux allows');
    }
    const length = XATTR_ENTRY_BYTES + suffix.length + value.length;
    const entry = Buffer.alloc(Math.ceil(length / 4) * 4);
    entry.writeUInt8(suffix.length, 0);
    entry.writeUInt8(index, 1);
    entry.writeUInt16LE(value.length, 2);
    entry.write(suffix + value, XATTR_ENTRY_BYTES, 'latin1');
    entries.push(entry);
  }
  if (entries.length === 0) return Buffer.alloc(0);
  const all = Buffer.concat([Buffer.alloc(XATTR_HEADER_BYTES), ...entries]);
  if ((all.length - XATTR_HEADER_BYTES) / 4 + 1 > XATTR_WORDS_MAX) {
    throw new TsvmError('invalid-image', 'a file has more extended attributes than fit');
  }
  return all;
}
