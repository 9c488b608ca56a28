import { TsvmError } from '../../errors.ts';
import type { SparseMap } from '../tar/sparse.ts';
import { directoryBytes, sortedNames } from './directory-blocks.ts';
import {
  CHUNK_INDEX_BYTES,
  type DataLayout,
  encodeXattrs,
  INODE_ALIGNMENT,
  INODE_BYTES,
  NULL_BLOCK,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
} from './erofs-format.ts';
import { type Inode, isDirectory } from './inode.ts';

/** Of sparse files: larger chunks keep the list of them short. */
const CHUNKS_MAX = 2 ** 16;
const CHUNK_BITS_MIN = 12;

/** Where an inode and its data go. Offsets and sizes in bytes. */
export interface InodePlace {
  readonly offset: number;
  readonly layout: DataLayout;
  readonly size: number;
  readonly xattrs: Buffer | undefined;
  /** What stands behind the inode and its attributes: the end of its data, or a list of chunks. */
  readonly tailBytes: number;
  /** First block of the data that is in the metadata image itself, and how many there are. */
  readonly dataBlock: number;
  readonly dataBlocks: number;
  readonly chunks: ChunkPlan | undefined;
}

/** A sparse file in chunks of one size; only those that have data have a place. */
export interface ChunkPlan {
  readonly chunkBits: number;
  /** Of each chunk: the first block, counted from the file's own, or NULL_BLOCK. */
  readonly blocks: Uint32Array;
  readonly dataBlocks: number;
}

/**
 * Gives inodes their places, one after the other: the same ones every time that it is done in the
 * same order. The first time tells how long it all gets, the second writes.
 */
export class InodeLayout {
  readonly #blockBits: number;
  readonly #blockBytes: number;
  readonly #copiesData: boolean;
  #offset = SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES;
  #block: number;

  /**
   * @param copiesData files' data goes into the image as well
   * @param firstDataBlock behind the inodes; 0 while that is not known
   */
  constructor(blockBits: number, copiesData: boolean, firstDataBlock: number) {
    this.#blockBits = blockBits;
    this.#blockBytes = 2 ** blockBits;
    this.#copiesData = copiesData;
    this.#block = firstDataBlock;
  }

  /** Blocks up to the end of the last inode. */
  get inodeBlocks(): number {
    return Math.ceil(this.#offset / this.#blockBytes);
  }

  /** The block behind the last data. */
  get endBlock(): number {
    return this.#block;
  }

  place(inode: Inode): InodePlace {
    const xattrs = inode.xattrs && encodeXattrs(inode.xattrs);
    const chunks = inode.sparse && planChunks(inode.sparse, this.#blockBits);
    const size = this.#size(inode);
    const headBytes = INODE_BYTES + (xattrs?.length ?? 0);
    let layout: DataLayout = 'plain';
    let tailBytes = 0;
    let dataBlocks = 0;
    if (chunks !== undefined) {
      layout = 'chunks';
      tailBytes = chunks.blocks.length * CHUNK_INDEX_BYTES;
      dataBlocks = chunks.dataBlocks;
    } else if (inode.kind === 'directory' || inode.kind === 'symlink') {
      const rest = size % this.#blockBytes;
      // The end of the data has to be in the block that its inode is in.
      const isInline = rest > 0 && headBytes + rest <= this.#blockBytes;
      if (isInline) {
        layout = 'inline';
        tailBytes = rest;
      }
      dataBlocks = isInline
        ? Math.floor(size / this.#blockBytes)
        : Math.ceil(size / this.#blockBytes);
    } else if (this.#copiesData && inode.kind === 'file') {
      dataBlocks = Math.ceil(size / this.#blockBytes);
    }
    const offset = this.#placeInode(headBytes, tailBytes, layout);
    const dataBlock = this.#block;
    this.#block += dataBlocks;
    return { offset, layout, size, xattrs, tailBytes, dataBlock, dataBlocks, chunks };
  }

  #size(inode: Inode): number {
    if (inode.kind === 'file') return inode.sizeBytes;
    if (inode.kind === 'symlink') return inode.target.length;
    return isDirectory(inode) ? directoryBytes(sortedNames(inode), this.#blockBytes) : 0;
  }

  #placeInode(headBytes: number, tailBytes: number, layout: DataLayout): number {
    let offset = Math.ceil(this.#offset / INODE_ALIGNMENT) * INODE_ALIGNMENT;
    const room = this.#blockBytes - (offset % this.#blockBytes);
    if (layout === 'inline' && headBytes + tailBytes > room) offset += room;
    this.#offset = offset + headBytes + tailBytes;
    return offset;
  }
}

function planChunks({ parts, sizeBytes }: SparseMap, blockBits: number): ChunkPlan {
  let chunkBits = Math.max(CHUNK_BITS_MIN, blockBits);
  while (sizeBytes > CHUNKS_MAX * 2 ** chunkBits) chunkBits++;
  if (chunkBits - blockBits > 31) {
    throw new TsvmError('invalid-image', 'a sparse file is larger than a file can be');
  }
  const chunkBytes = 2 ** chunkBits;
  const blocks = new Uint32Array(Math.ceil(sizeBytes / chunkBytes)).fill(NULL_BLOCK);
  let dataBlocks = 0;
  for (const { offset, length } of parts) {
    const last = Math.floor((offset + length - 1) / chunkBytes);
    for (let chunk = Math.floor(offset / chunkBytes); chunk <= last; chunk++) {
      if (blocks[chunk] !== NULL_BLOCK) continue;
      blocks[chunk] = dataBlocks;
      dataBlocks += 2 ** (chunkBits - blockBits);
      if (dataBlocks >= NULL_BLOCK) {
        throw new TsvmError('invalid-image', 'a sparse file has more data than fits');
      }
    }
  }
  return { chunkBits, blocks, dataBlocks };
}
