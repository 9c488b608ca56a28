import { TsvmError } from '../../errors.ts';
import { formatSize } from '../../util/size.ts';
import type { SparseMap } from '../tar/sparse.ts';
import { directoryBytes } from './directory-blocks.ts';
import {
  CHUNK_INDEX_BYTES,
  type DataLayout,
  encodeXattrs,
  INODE_ALIGNMENT,
  INODE_BYTES,
  NID_UNIT_BITS,
  NULL_BLOCK,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
} from './erofs-format.ts';
import type { Inode } from './inode.ts';
import type { OrderedDirectory } from './inode-order.ts';

/**
 * Bound of the inodes, far beyond real images: 2 million files take 128 MiB. Without it, a small hostile
 * layer of sparse files, each with a list of chunks, could fill the host's disk. Offsets fit into 31
 * bits, for which V8 is fast.
 */
const INODES_BYTES_MAX = 2 ** 30;
/** Chunk size of sparse files; large chunks keep the list of chunks short. */
const CHUNKS_MAX = 2 ** 16;
const CHUNK_BITS_MIN = 12;

/** The sizes of an inode and its data, independent of their place. */
export interface InodeShape {
  readonly layout: DataLayout;
  readonly xattrs: Buffer | undefined;
  /** Bytes after the inode and its attributes: the end of its data, or a list of chunks. */
  readonly tailBytes: number;
  /** Size of the data that is in the metadata image itself. */
  readonly dataBlocks: number;
  readonly chunks: ChunkPlan | undefined;
}

/** The layout of most inodes: files whose data is in a layer. */
const BARE: InodeShape = {
  layout: 'plain',
  xattrs: undefined,
  tailBytes: 0,
  dataBlocks: 0,
  chunks: undefined,
};

/** A sparse file in chunks of equal size. Chunks without data are not stored. */
export interface ChunkPlan {
  readonly chunkBits: number;
  /** The first block of each chunk, relative to the file's first block, or NULL_BLOCK. */
  readonly blocks: Uint32Array;
  readonly dataBlocks: number;
}

export class InodeShapes {
  readonly #blockBits: number;
  readonly #blockBytes: number;
  readonly #copiesData: boolean;
  readonly #directories: ReadonlyMap<Inode, OrderedDirectory>;

  /** @param copiesData true to store files' data in the image as well */
  constructor(
    blockBits: number,
    copiesData: boolean,
    directories: ReadonlyMap<Inode, OrderedDirectory>,
  ) {
    this.#blockBits = blockBits;
    this.#blockBytes = 2 ** blockBits;
    this.#copiesData = copiesData;
    this.#directories = directories;
  }

  /** Bytes of an inode's data. */
  size(inode: Inode): number {
    if (inode.kind === 'file') return inode.sizeBytes;
    if (inode.kind === 'symlink') return inode.target.length;
    const directory = this.#directories.get(inode);
    return directory === undefined ? 0 : directoryBytes(directory, this.#blockBytes);
  }

  /** @throws TsvmError `invalid-image` if there are more than fit */
  of(inode: Inode): InodeShape {
    const { kind, sparse } = inode;
    const xattrs = inode.xattrs && encodeXattrs(inode.xattrs);
    if (sparse !== undefined) {
      const chunks = planChunks(sparse, this.#blockBits);
      const tailBytes = chunks.blocks.length * CHUNK_INDEX_BYTES;
      return { layout: 'chunks', xattrs, tailBytes, dataBlocks: chunks.dataBlocks, chunks };
    }
    if (kind === 'directory' || kind === 'symlink') {
      return { ...this.#ownData(this.size(inode), xattrs?.length ?? 0), xattrs, chunks: undefined };
    }
    const copies = this.#copiesData && kind === 'file';
    if (!copies) return xattrs === undefined ? BARE : { ...BARE, xattrs };
    return { ...BARE, xattrs, dataBlocks: Math.ceil(inode.sizeBytes / this.#blockBytes) };
  }

  /** The layout of data that is only in the image: its end follows the inode if it fits there. */
  #ownData(
    size: number,
    xattrBytes: number,
  ): Pick<InodeShape, 'layout' | 'tailBytes' | 'dataBlocks'> {
    const rest = size % this.#blockBytes;
    // The end of the data has to be in the same block as its inode.
    if (rest > 0 && INODE_BYTES + xattrBytes + rest <= this.#blockBytes) {
      const dataBlocks = Math.floor(size / this.#blockBytes);
      return { layout: 'inline', tailBytes: rest, dataBlocks };
    }
    return { layout: 'plain', tailBytes: 0, dataBlocks: Math.ceil(size / this.#blockBytes) };
  }
}

/** Assigns places to inodes, one after the other. */
export class InodePlaces {
  readonly #blockBytes: number;
  #offset = SUPERBLOCK_OFFSET + SUPERBLOCK_BYTES;

  constructor(blockBits: number) {
    this.#blockBytes = 2 ** blockBits;
  }

  /** Blocks up to the end of the last inode. */
  get blocks(): number {
    return Math.ceil(this.#offset / this.#blockBytes);
  }

  /**
   * @returns the number of the next inode
   * @throws TsvmError `invalid-image` when the inodes do not fit
   */
  next({ layout, tailBytes, xattrs }: InodeShape): number {
    const bytes = INODE_BYTES + (xattrs?.length ?? 0) + tailBytes;
    let offset = (this.#offset + INODE_ALIGNMENT - 1) & -INODE_ALIGNMENT;
    const room = this.#blockBytes - (offset & (this.#blockBytes - 1));
    if (layout === 'inline' && bytes > room) offset += room;
    if (offset + bytes > INODES_BYTES_MAX) {
      const limit = formatSize(INODES_BYTES_MAX);
      throw new TsvmError(
        'invalid-image',
        `the image's files, without their data, take more than ${limit}: this is not supported`,
      );
    }
    this.#offset = offset + bytes;
    return offset >>> NID_UNIT_BITS;
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
