/**
 * Writes the metadata image of a root file system: a small EROFS whose files' data lies behind it on
 * the disk, in the layers' tar archives. Their members begin at multiples of 512 bytes, so blocks
 * have 512 bytes.
 *
 * ```
 * superblock | inodes, each with its attributes and the end of its data | data of directories,
 * long links and sparse files | layer 0 | layer 1 | …
 * ```
 */
import { readSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { TAR_BLOCK_BYTES } from '../tar/header.ts';
import { encodeDirectory, sortedNames } from './directory-blocks.ts';
import {
  encodeDevice,
  encodeInode,
  encodeSuperblock,
  INODE_BYTES,
  NID_UNIT_BYTES,
  NULL_BLOCK,
  SUPERBLOCK_OFFSET,
} from './erofs-format.ts';
import { type Directory, type Inode, isDirectory } from './inode.ts';
import { InodeLayout, type InodePlace } from './inode-layout.ts';
import { InodeOrder } from './inode-order.ts';
import { RegionWriter } from './region-writer.ts';

/** A layer's plain tar archive. */
export interface LayerArchive {
  readonly fd: number;
  readonly sizeBytes: number;
}

export interface MetadataOptions {
  /**
   * - `referred`: in the layers, with blocks of 512 bytes.
   * - `copied`: in the image itself, which then is a whole file system, with blocks of 4096 bytes.
   */
  readonly data: 'referred' | 'copied';
  /** 16 bytes. */
  readonly uuid: Uint8Array;
}

export interface MetadataImage {
  /** Bytes of the image itself, a multiple of 512. */
  readonly sizeBytes: number;
  readonly inodes: number;
}

const REFERRED_BLOCK_BITS = 9;
const COPIED_BLOCK_BITS = 12;
const COPY_BYTES = 128 * 1024;

/**
 * @param fd open for writing and empty
 * @throws TsvmError `invalid-image` when it does not fit into 2^32 blocks
 */
export function writeMetadataImage(
  root: Directory,
  layers: readonly LayerArchive[],
  fd: number,
  options: MetadataOptions,
): MetadataImage {
  return new MetadataWriter(root, layers, fd, options).write();
}

class MetadataWriter {
  readonly #order: InodeOrder;
  readonly #layers: readonly LayerArchive[];
  readonly #copiesData: boolean;
  readonly #uuid: Uint8Array;
  readonly #blockBits: number;
  readonly #blockBytes: number;
  readonly #inodeRegion: RegionWriter;
  readonly #dataRegion: RegionWriter;
  /** First block of each layer. */
  #layerBlocks: readonly number[] = [];

  constructor(
    root: Directory,
    layers: readonly LayerArchive[],
    fd: number,
    { data, uuid }: MetadataOptions,
  ) {
    this.#order = new InodeOrder(root);
    this.#layers = layers;
    this.#copiesData = data === 'copied';
    this.#uuid = uuid;
    this.#blockBits = this.#copiesData ? COPIED_BLOCK_BITS : REFERRED_BLOCK_BITS;
    this.#blockBytes = 2 ** this.#blockBits;
    this.#inodeRegion = new RegionWriter(fd);
    this.#dataRegion = new RegionWriter(fd);
  }

  write(): MetadataImage {
    const { inodes } = this.#order;
    const plan = new InodeLayout(this.#blockBits, this.#copiesData, 0);
    let hasChunks = false;
    for (const inode of inodes) {
      const { offset, chunks } = plan.place(inode);
      inode.nid = offset / NID_UNIT_BYTES;
      hasChunks ||= chunks !== undefined;
    }
    const firstDataBlock = plan.inodeBlocks;
    const metadataBlocks = firstDataBlock + plan.endBlock;
    const blocks = this.#placeLayers(metadataBlocks);
    const superblock = encodeSuperblock({
      blockBits: this.#blockBits,
      rootNid: inodes[0]?.nid ?? 0,
      inodes: inodes.length,
      blocks,
      hasChunks,
      uuid: this.#uuid,
    });
    this.#inodeRegion.write(SUPERBLOCK_OFFSET, superblock);
    const layout = new InodeLayout(this.#blockBits, this.#copiesData, firstDataBlock);
    let number = 0;
    for (const inode of inodes) this.#writeInode(inode, layout.place(inode), ++number);
    this.#inodeRegion.flush();
    this.#dataRegion.flush();
    return { sizeBytes: metadataBlocks * this.#blockBytes, inodes: inodes.length };
  }

  /** @returns the blocks of the whole disk */
  #placeLayers(metadataBlocks: number): number {
    let block = metadataBlocks;
    this.#layerBlocks = this.#layers.map(({ sizeBytes }) => {
      const first = block;
      if (!this.#copiesData) block += Math.ceil(sizeBytes / this.#blockBytes);
      return first;
    });
    if (block < NULL_BLOCK) return block;
    throw new TsvmError('invalid-image', 'the image is larger than 2 TiB, which is not supported');
  }

  #writeInode(inode: Inode, place: InodePlace, number: number): void {
    const xattrBytes = place.xattrs?.length ?? 0;
    const { offset, layout, size, tailBytes } = place;
    const head = this.#inodeRegion.space(offset, INODE_BYTES);
    const union = this.#union(inode, place);
    encodeInode(head, 0, inode, { layout, size, union, xattrBytes, number });
    const behind = offset + INODE_BYTES;
    if (place.xattrs !== undefined) this.#inodeRegion.write(behind, place.xattrs);
    if (place.chunks !== undefined) {
      this.#inodeRegion.write(behind + xattrBytes, chunkIndexes(place));
      this.#copyChunks(inode, place);
      return;
    }
    const data = this.#ownData(inode, size);
    if (data === undefined) {
      if (place.dataBlocks > 0) this.#copyFile(inode, place);
      return;
    }
    const tailStart = size - tailBytes;
    if (tailBytes > 0) this.#inodeRegion.write(behind + xattrBytes, data.subarray(tailStart));
    this.#dataRegion.write(place.dataBlock * this.#blockBytes, data.subarray(0, tailStart));
  }

  /** The field whose meaning depends on what the inode is. */
  #union(inode: Inode, { chunks, dataBlock, dataBlocks }: InodePlace): number {
    if (chunks !== undefined) return chunks.chunkBits - this.#blockBits;
    if (inode.kind === 'character-device' || inode.kind === 'block-device') {
      return encodeDevice(inode);
    }
    if (inode.kind !== 'file' || this.#copiesData) return dataBlocks > 0 ? dataBlock : 0;
    if (inode.sizeBytes === 0) return 0;
    return (this.#layerBlocks[inode.layer] ?? 0) + inode.dataOffset / TAR_BLOCK_BYTES;
  }

  /** What is no file's data. */
  #ownData(inode: Inode, size: number): Buffer | undefined {
    if (inode.kind === 'symlink') return Buffer.from(inode.target, 'latin1');
    if (!isDirectory(inode)) return undefined;
    const parent = this.#order.parents.get(inode) ?? inode;
    const inodeOf = (name: string): Inode => {
      if (name === '.') return inode;
      return (name === '..' ? parent : inode.entries.get(name)) ?? inode;
    };
    const data = Buffer.alloc(size);
    encodeDirectory(data, sortedNames(inode), inodeOf, this.#blockBytes);
    return data;
  }

  #copyChunks(inode: Inode, { chunks, dataBlock }: InodePlace): void {
    if (chunks === undefined) return;
    const chunkBytes = 2 ** chunks.chunkBits;
    for (const part of inode.sparse?.parts ?? []) {
      for (let done = 0; done < part.length; ) {
        const offset = part.offset + done;
        const chunk = Math.floor(offset / chunkBytes);
        const inChunk = offset % chunkBytes;
        const length = Math.min(part.length - done, chunkBytes - inChunk);
        const block = dataBlock + (chunks.blocks[chunk] ?? 0);
        this.#copy(inode.layer, part.dataOffset + done, block * this.#blockBytes + inChunk, length);
        done += length;
      }
    }
  }

  #copyFile(inode: Inode, { dataBlock, size }: InodePlace): void {
    this.#copy(inode.layer, inode.dataOffset, dataBlock * this.#blockBytes, size);
  }

  #copy(layer: number, from: number, to: number, length: number): void {
    const fd = this.#layers[layer]?.fd ?? -1;
    for (let done = 0; done < length; ) {
      const part = this.#dataRegion.space(to + done, Math.min(COPY_BYTES, length - done));
      for (let got = 0; got < part.length; ) {
        const bytes = readSync(fd, part, got, part.length - got, from + done + got);
        if (bytes === 0) throw new TsvmError('invalid-image', 'a layer has become shorter');
        got += bytes;
      }
      done += part.length;
    }
  }
}

/** The list of a sparse file's chunks: the first block of each. */
function chunkIndexes({ chunks, dataBlock, tailBytes }: InodePlace): Buffer {
  const list = Buffer.alloc(tailBytes);
  chunks?.blocks.forEach((block, index) => {
    list.writeUInt32LE(block === NULL_BLOCK ? NULL_BLOCK : dataBlock + block, 4 * index);
  });
  return list;
}
