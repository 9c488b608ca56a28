/**
 * Writes the metadata image of a root file system: a small EROFS whose file data follows on the same
 * disk, in the layers' tar archives. Members of tar archives are aligned to 512 bytes, so the block
 * size is 512 bytes.
 *
 * ```
 * superblock | inodes, each with its attributes and the end of its data | data of directories,
 * long links and sparse files | layer 0 | layer 1 | …
 * ```
 */
import { readSync } from 'node:fs';
import { TsvmError } from '../../errors.ts';
import { TAR_BLOCK_BYTES } from '../tar/header.ts';
import { encodeDirectory } from './directory-blocks.ts';
import {
  CHUNK_INDEX_BYTES,
  encodeDevice,
  encodeInode,
  encodeSuperblock,
  INODE_BYTES,
  NID_UNIT_BYTES,
  NULL_BLOCK,
  SUPERBLOCK_OFFSET,
} from './erofs-format.ts';
import type { Directory, Inode } from './inode.ts';
import { type ChunkPlan, InodePlaces, type InodeShape, InodeShapes } from './inode-layout.ts';
import { InodeOrder } from './inode-order.ts';
import { RegionWriter } from './region-writer.ts';

/** A layer's uncompressed tar archive. */
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
  /** Size of the image itself in bytes, a multiple of 512. */
  readonly sizeBytes: number;
  readonly inodes: number;
}

const REFERRED_BLOCK_BITS = 9;
const COPIED_BLOCK_BITS = 12;
const COPY_BYTES = 128 * 1024;

/**
 * @param fd open for writing and empty
 * @throws TsvmError `invalid-image` if it does not fit into 2^32 blocks
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
  readonly #shapes: InodeShapes;
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
    this.#shapes = new InodeShapes(this.#blockBits, this.#copiesData, this.#order.directories);
    this.#inodeRegion = new RegionWriter(fd);
    this.#dataRegion = new RegionWriter(fd);
  }

  write(): MetadataImage {
    const { inodes } = this.#order;
    const places = new InodePlaces(this.#blockBits);
    let hasChunks = false;
    let dataBlocks = 0;
    for (const inode of inodes) {
      const shape = this.#shapes.of(inode);
      inode.nid = places.next(shape);
      dataBlocks += shape.dataBlocks;
      hasChunks ||= shape.chunks !== undefined;
    }
    const metadataBlocks = places.blocks + dataBlocks;
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
    let dataBlock = places.blocks;
    inodes.forEach((inode, index) => {
      dataBlock += this.#writeInode(inode, dataBlock, index + 1);
    });
    this.#inodeRegion.flush();
    this.#dataRegion.flush();
    return { sizeBytes: metadataBlocks * this.#blockBytes, inodes: inodes.length };
  }

  /** @returns the number of blocks of the whole disk */
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

  /**
   * @param dataBlock the first free block for data in the image
   * @returns the number of blocks used
   */
  #writeInode(inode: Inode, dataBlock: number, number: number): number {
    const shape = this.#shapes.of(inode);
    const { chunks, dataBlocks, layout, tailBytes, xattrs } = shape;
    const xattrBytes = xattrs?.length ?? 0;
    const size = this.#shapes.size(inode);
    const union = this.#union(inode, shape, dataBlock);
    const offset = inode.nid * NID_UNIT_BYTES;
    const at = this.#inodeRegion.reserve(offset, INODE_BYTES);
    encodeInode(this.#inodeRegion.view, at, inode, { layout, size, union, xattrBytes, number });
    const behind = offset + INODE_BYTES;
    if (xattrs !== undefined) this.#inodeRegion.write(behind, xattrs);
    if (chunks !== undefined) {
      this.#inodeRegion.write(behind + xattrBytes, chunkIndexes(chunks, dataBlock));
      this.#copyChunks(inode, chunks, dataBlock);
    } else if (inode.kind === 'symlink' || inode.kind === 'directory') {
      const data = this.#ownData(inode, size);
      const tailStart = size - tailBytes;
      if (tailBytes > 0) this.#inodeRegion.write(behind + xattrBytes, data.subarray(tailStart));
      this.#dataRegion.write(dataBlock * this.#blockBytes, data.subarray(0, tailStart));
    } else if (dataBlocks > 0) {
      this.#copy(inode.layer, inode.dataOffset, dataBlock * this.#blockBytes, size);
    }
    return dataBlocks;
  }

  /** The value of `i_u`, whose meaning depends on the type of the inode. */
  #union(inode: Inode, { chunks, dataBlocks }: InodeShape, dataBlock: number): number {
    if (chunks !== undefined) return chunks.chunkBits - this.#blockBits;
    if (inode.kind === 'character-device' || inode.kind === 'block-device') {
      return encodeDevice(inode);
    }
    if (inode.kind !== 'file' || this.#copiesData) return dataBlocks > 0 ? dataBlock : 0;
    if (inode.sizeBytes === 0) return 0;
    return (this.#layerBlocks[inode.layer] ?? 0) + inode.dataOffset / TAR_BLOCK_BYTES;
  }

  /** Data other than that of files. */
  #ownData(inode: Inode, size: number): Buffer {
    const directory = this.#order.directories.get(inode);
    if (directory === undefined) return Buffer.from(inode.target, 'latin1');
    const data = Buffer.alloc(size);
    encodeDirectory(data, directory, this.#blockBytes);
    return data;
  }

  #copyChunks({ layer, sparse }: Inode, chunks: ChunkPlan, dataBlock: number): void {
    const chunkBytes = 2 ** chunks.chunkBits;
    for (const part of sparse?.parts ?? []) {
      for (let done = 0; done < part.length; ) {
        const offset = part.offset + done;
        const chunk = Math.floor(offset / chunkBytes);
        const inChunk = offset % chunkBytes;
        const length = Math.min(part.length - done, chunkBytes - inChunk);
        const block = dataBlock + (chunks.blocks[chunk] ?? 0);
        this.#copy(layer, part.dataOffset + done, block * this.#blockBytes + inChunk, length);
        done += length;
      }
    }
  }

  #copy(layer: number, from: number, to: number, length: number): void {
    const fd = this.#layers[layer]?.fd ?? -1;
    for (let done = 0; done < length; ) {
      const part = Math.min(COPY_BYTES, length - done);
      const at = this.#dataRegion.reserve(to + done, part);
      for (let got = 0; got < part; ) {
        const { bytes } = this.#dataRegion;
        const read = readSync(fd, bytes, at + got, part - got, from + done + got);
        if (read === 0) throw new TsvmError('invalid-image', 'a layer has become shorter');
        got += read;
      }
      done += part;
    }
  }
}

/** The list of a sparse file's chunks: the first block of each. */
function chunkIndexes({ blocks }: ChunkPlan, dataBlock: number): Buffer {
  const list = Buffer.alloc(blocks.length * CHUNK_INDEX_BYTES);
  blocks.forEach((block, index) => {
    const first = block === NULL_BLOCK ? NULL_BLOCK : dataBlock + block;
    list.writeUInt32LE(first, CHUNK_INDEX_BYTES * index);
  });
  return list;
}
