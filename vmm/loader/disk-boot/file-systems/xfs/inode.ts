import { once } from '../../../../util/once.ts';
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import type { ExtentList } from '../extent-list.ts';
import { type DirectoryEntry, type Inode, type InodeKind, kindOfMode } from '../file-system.ts';
import { readExtentList, readExtentTree } from './extents.ts';
import { blockOffset, type XfsGeometry } from './superblock.ts';
import { parseDirectoryBlock, parseShortForm, type XfsEntry } from './xfs-directory.ts';

const MAGIC = 'IN';
const CORE_BYTES = 100;
const CORE_BYTES_V3 = 176;
/** di_format. */
const FORMAT_LOCAL = 1;
const FORMAT_EXTENTS = 2;
const FORMAT_BTREE = 3;
/** XFS_DIFLAG2_NREXT64: the count of extents is elsewhere. */
const FLAG2_LARGE_COUNTS = 0x10n;
/** Blocks of directories from this offset on have hashes. */
const LEAF_OFFSET = 32 * 2 ** 30;
const DIRECTORY_BYTES_MAX = 16 * 2 ** 20;
const LINK_MAGIC = 'XSLM';
const LINK_HEADER_BYTES = 56;

/** "On-disk Inode". */
export class XfsInode implements Inode {
  readonly kind: InodeKind;
  readonly sizeBytes: number;
  readonly entries: () => readonly DirectoryEntry[];
  readonly #volume: Volume;
  readonly #geometry: XfsGeometry;
  readonly #what: string;
  readonly #core: Fields;
  /** The data fork. */
  readonly #fork: Fields;
  readonly #format: number;
  readonly #extents: () => ExtentList;

  constructor(volume: Volume, geometry: XfsGeometry, number: number) {
    this.#volume = volume;
    this.#geometry = geometry;
    this.#what = `inode ${number}`;
    const { inodesPerBlockBits, inodeBytes } = geometry;
    const perBlock = 2 ** inodesPerBlockBits;
    const block = blockOffset(volume, geometry, Math.floor(number / perBlock));
    const offset = block + (number % perBlock) * inodeBytes;
    this.#core = volume.read(offset, inodeBytes, this.#what, 'big');
    if (!this.#core.has(0, MAGIC)) throw this.#core.invalid('it is not an inode');
    this.kind = kindOfMode(this.#core.u16(2));
    this.sizeBytes = this.#core.u64(56);
    this.#format = this.#core.u8(5);
    const start = this.#core.u8(4) >= 3 ? CORE_BYTES_V3 : CORE_BYTES;
    const attributesAt = this.#core.u8(82) * 8;
    this.#fork = this.#core.part(start, attributesAt || inodeBytes - start);
    this.#extents = once(() => this.#readExtents());
    this.entries = once(() => this.#readEntries());
  }

  read(offset: number, length: number): Uint8Array {
    if (this.#format === FORMAT_LOCAL) return this.#fork.slice(offset, length);
    if (this.kind === 'symlink' && this.#geometry.isV5) {
      return this.#readRemoteLink().slice(offset, offset + length);
    }
    return this.#extents().read(offset, length);
  }

  #readExtents(): ExtentList {
    if (this.#format === FORMAT_BTREE) {
      return readExtentTree(this.#volume, this.#geometry, this.#fork, this.#what);
    }
    if (this.#format !== FORMAT_EXTENTS) {
      throw this.#core.invalid(`its data has the unknown form ${this.#format}`);
    }
    const hasLargeCounts =
      this.#core.u8(4) >= 3 && (this.#core.big64(120) & FLAG2_LARGE_COUNTS) !== 0n;
    const count = hasLargeCounts ? this.#core.u64(24) : this.#core.u32(76);
    return readExtentList(this.#volume, this.#geometry, this.#fork, count, this.#what);
  }

  /** "Symbolic Links": each extent begins with a header in version 5. */
  #readRemoteLink(): Uint8Array {
    const { blockBytes } = this.#geometry;
    const parts = this.#extents().extents.map(({ volumeBlock = 0, count }) => {
      const length = Math.min(count, 2) * blockBytes;
      const extent = this.#volume.read(volumeBlock * blockBytes, length, this.#what, 'big');
      if (!extent.has(0, LINK_MAGIC)) throw extent.invalid('it is not the target of a link');
      return extent.slice(LINK_HEADER_BYTES, extent.u32(8));
    });
    return Buffer.concat(parts);
  }

  #readEntries(): readonly DirectoryEntry[] {
    return this.#listEntries().map(({ name, inode }) => ({
      name,
      open: once(() => new XfsInode(this.#volume, this.#geometry, inode)),
    }));
  }

  #listEntries(): XfsEntry[] {
    if (this.#format === FORMAT_LOCAL) return parseShortForm(this.#fork, this.#geometry);
    if (this.sizeBytes > DIRECTORY_BYTES_MAX) {
      throw this.#core.invalid(`a directory of ${this.sizeBytes} bytes is too large`);
    }
    const { directoryBlockBytes } = this.#geometry;
    const found: XfsEntry[] = [];
    for (let at = 0; at < Math.min(this.sizeBytes, LEAF_OFFSET); at += directoryBlockBytes) {
      this.#volume.spend(directoryBlockBytes);
      const block = this.#core.over(this.#extents().read(at, directoryBlockBytes));
      found.push(...parseDirectoryBlock(block, this.#geometry));
    }
    return found;
  }
}
