/**
 * Ingests a layer as a stream: hashes, stores and decompresses its bytes, and hashes and stores the
 * result. Files get their names only after all digests have been verified.
 */
import type { Hash } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { TsvmError } from '../../errors.ts';
import { formatSize } from '../../util/size.ts';
import { type Digest, digestAlgorithm, digestHash, finishDigest } from '../digest.ts';
import type { Descriptor } from '../manifest.ts';
import type { StoreFolders } from '../store/folders.ts';
import { NewContent } from '../store/new-content.ts';
import { decodeZstd, isZstd } from './decode-zstd.ts';

/** Limits of a layer on this host. */
export interface LayerLimits {
  /** Bytes, unpacked. */
  readonly layerBytesMax: number;
  /** Bytes to leave free on the host's disk. */
  readonly freeBytesMin: number;
}

export const LAYER_LIMITS: LayerLimits = { layerBytesMax: 2 ** 37, freeBytesMin: 2 ** 28 };

const INFLATED_BYTES = 512 * 1024;
/** How often the free space of the host's disk is checked. */
const SPACE_CHECK_BYTES = 2 ** 26;

export interface LayerSource {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** The blob's descriptor; undefined if only its uncompressed digest is known. */
  readonly blob: Pick<Descriptor, 'digest' | 'size'> | undefined;
  /** The required digest of the uncompressed layer; undefined to accept any. */
  readonly diffId: Digest | undefined;
  /** How a message calls it. */
  readonly name: string;
  /** Breaks it off. */
  readonly signal?: AbortSignal | undefined;
}

export interface IngestedLayer {
  readonly blob: Digest;
  /** Bytes of the blob. */
  readonly blobBytes: number;
  readonly diffId: Digest;
  readonly compression: 'none' | 'gzip' | 'zstd';
}

/**
 * Adds a layer to the store. The caller prevents others from removing content that no image uses yet.
 * @param onProgress called with the bytes of the blob that have come, in all
 * @throws TsvmError `invalid-image` when it is not what its digests and size say, or no layer;
 * `store-failed`; and what the source throws
 */
export async function ingestLayer(
  source: LayerSource,
  folders: StoreFolders,
  limits: LayerLimits = LAYER_LIMITS,
  onProgress: (bytes: number) => void = () => {},
): Promise<IngestedLayer> {
  const blob = new HashedContent(await NewContent.create(folders.temporary), source.blob?.digest);
  let layer: HashedContent | undefined;
  try {
    const chunks = kept(source, blob, limits, folders, onProgress)[Symbol.asyncIterator]();
    const { start, compression } = await peek(chunks);
    const packed = resumed(start, chunks);
    if (compression === 'none') {
      // What comes is the layer: one file has both names.
      for await (const _ of packed);
    } else {
      const plain = new HashedContent(await NewContent.create(folders.temporary), source.diffId);
      layer = plain;
      const guard = new SpaceGuard(source.name, limits, folders);
      const keep = async (unpacked: AsyncIterable<Uint8Array>) => {
        for await (const chunk of unpacked) {
          await plain.append(chunk);
          await guard.check(plain.sizeBytes);
        }
      };
      await unpack(source.name, compression, packed, keep);
    }
    const blobDigest = blob.finish();
    checkBlob(source, blobDigest, blob.sizeBytes);
    const diffId = layer?.finish() ?? plainDiffId(source, blobDigest);
    if (source.diffId !== undefined && diffId !== source.diffId) {
      throw new TsvmError(
        'invalid-image',
        `${source.name} unpacks to ${diffId}, but the image's configuration says ${source.diffId}`,
      );
    }
    if (layer === undefined) {
      await blob.content.appear(folders.blob(blobDigest), folders.layer(diffId));
    } else {
      await layer.content.appear(folders.layer(diffId));
      await blob.content.appear(folders.blob(blobDigest));
    }
    return { blob: blobDigest, blobBytes: blob.sizeBytes, diffId, compression };
  } finally {
    await blob.content.discard();
    await layer?.content.discard();
  }
}

/** New content whose hash is made on the way. */
class HashedContent {
  readonly content: NewContent;
  readonly #hash: Hash;
  readonly #like: Digest | undefined;

  constructor(content: NewContent, like: Digest | undefined) {
    this.content = content;
    this.#hash = digestHash(like);
    this.#like = like;
  }

  get sizeBytes(): number {
    return this.content.sizeBytes;
  }

  append(chunk: Uint8Array): Promise<void> {
    this.#hash.update(chunk);
    return this.content.append(chunk);
  }

  finish(): Digest {
    return finishDigest(this.#hash, this.#like);
  }
}

/** Passes the blob on, and keeps it. Stops at once when there is more of it than there may be. */
async function* kept(
  { bytes, blob: expected, name, signal }: LayerSource,
  blob: HashedContent,
  limits: LayerLimits,
  folders: StoreFolders,
  onProgress: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const guard = new SpaceGuard(name, limits, folders);
  for await (const chunk of bytes) {
    signal?.throwIfAborted();
    if (expected !== undefined && blob.sizeBytes + chunk.length > expected.size) {
      throw new TsvmError(
        'invalid-image',
        `${name} has more bytes than the ${expected.size} that its manifest says`,
      );
    }
    await blob.append(chunk);
    await guard.check(blob.sizeBytes);
    onProgress(blob.sizeBytes);
    yield chunk;
  }
}

function checkBlob({ blob: expected, name }: LayerSource, digest: Digest, sizeBytes: number): void {
  if (expected === undefined) return;
  if (sizeBytes !== expected.size) {
    throw new TsvmError(
      'invalid-image',
      `${name} has ${sizeBytes} bytes, but its manifest says ${expected.size}`,
    );
  }
  if (digest === expected.digest) return;
  throw new TsvmError(
    'invalid-image',
    `${name} does not match its descriptor: its digest is ${digest}, not ${expected.digest}`,
  );
}

/** A plain layer is its own blob, and has one digest, unless two algorithms are in play. */
function plainDiffId({ diffId, name }: LayerSource, blobDigest: Digest): Digest {
  if (diffId === undefined || digestAlgorithm(diffId) === digestAlgorithm(blobDigest)) {
    return blobDigest;
  }
  throw new TsvmError(
    'invalid-image',
    `${name} has digests of two algorithms, which is not supported for uncompressed layers`,
  );
}

/** The first bytes, which tell how it is compressed. */
async function peek(chunks: AsyncIterator<Uint8Array>): Promise<{
  readonly start: Uint8Array;
  readonly compression: 'none' | 'gzip' | 'zstd';
}> {
  let start: Uint8Array = new Uint8Array(0);
  while (start.length < 4) {
    const next = await chunks.next();
    if (next.done) break;
    start = start.length === 0 ? next.value : Buffer.concat([start, next.value]);
  }
  const isGzip = start[0] === 0x1f && start[1] === 0x8b;
  return { start, compression: isGzip ? 'gzip' : isZstd(start) ? 'zstd' : 'none' };
}

async function* resumed(
  start: Uint8Array,
  chunks: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    if (start.length > 0) yield start;
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
  } finally {
    await chunks.return?.();
  }
}

async function unpack(
  name: string,
  compression: 'gzip' | 'zstd',
  packed: AsyncIterable<Uint8Array>,
  keep: (unpacked: AsyncIterable<Uint8Array>) => Promise<void>,
): Promise<void> {
  try {
    if (compression === 'zstd') await keep(decodeZstd(packed));
    else await pipeline(packed, createGunzip({ chunkSize: INFLATED_BYTES }), keep);
  } catch (error) {
    const isDecoders = error instanceof RangeError || (error instanceof Error && 'errno' in error);
    if (!isDecoders || (error instanceof Error && 'syscall' in error)) throw error;
    throw new TsvmError('invalid-image', `${name} is not a valid ${compression} stream`, {
      cause: error,
    });
  }
}

/** Aborts layers that are too large or would fill the host's disk. */
class SpaceGuard {
  readonly #name: string;
  readonly #limits: LayerLimits;
  readonly #folders: StoreFolders;
  #checkedBytes = 0;

  constructor(name: string, limits: LayerLimits, folders: StoreFolders) {
    this.#name = name;
    this.#limits = limits;
    this.#folders = folders;
  }

  async check(sizeBytes: number): Promise<void> {
    const { layerBytesMax, freeBytesMin } = this.#limits;
    if (sizeBytes > layerBytesMax) {
      throw new TsvmError(
        'invalid-image',
        `${this.#name} unpacks to more than ${formatSize(layerBytesMax)}, the limit for a layer`,
      );
    }
    if (sizeBytes - this.#checkedBytes < SPACE_CHECK_BYTES) return;
    this.#checkedBytes = sizeBytes;
    const { bavail, bsize } = await statfs(this.#folders.root);
    if (bavail * bsize >= freeBytesMin) return;
    throw new TsvmError(
      'store-failed',
      `${this.#name} would leave less than ${formatSize(freeBytesMin)} free in ` +
        `${this.#folders.root}: free some space ("tsvm system df" shows the usage of images)`,
    );
  }
}
