import type { DiskImage } from '../image.ts';
import { type CompressionKind, deflateCluster } from '../qcow2/map/compression.ts';
import { BufferPool } from './buffer-pool.ts';
import { type CopyStep, copyPlan } from './copy-plan.ts';
import { inOrder } from './in-order.ts';
import { type OnLost, readSources } from './source-reader.ts';
import { withWholeSources } from './whole-sources.ts';
import type { WorkControl } from './work-control.ts';
import { isZero } from './zeroes.ts';
import { ZstdFrames } from './zstd-frames.ts';

/** Clusters are read together up to this size. */
const CHUNK_BYTES = 2 ** 20;

/** An image that can hold compressed clusters. */
export interface CompressingImage extends DiskImage {
  /**
   * Writes one whole cluster, or the image's last part; uncompressed when compression does not make
   * it smaller.
   */
  writeCompressed(offset: number, plain: Uint8Array, deflated: Uint8Array | undefined): void;
}

export interface CompressedConvertOptions extends WorkControl {
  readonly compression: CompressionKind;
  /** Chunks read ahead. */
  readonly parallel: number;
  /** Clusters compressed concurrently. */
  readonly threads: number;
  /** The target reads as zeroes everywhere. */
  readonly targetIsZero: boolean;
  /** What the sources' own layers lack stays as the target has it. */
  readonly leaveUnallocated: boolean;
  /** See {@link readSources}. */
  readonly onLost?: OnLost | undefined;
}

/** A cluster and its compressed form; neither is needed for `zero`. */
interface CompressedCluster {
  readonly offset: number;
  readonly plain: Buffer;
  readonly deflated: Uint8Array | undefined;
  readonly zero: boolean;
}

/**
 * Like {@link convertImage}, with every cluster compressed: on all cores, but written in order, so
 * that compressed clusters share sectors.
 */
export async function convertCompressed(
  sources: readonly DiskImage[],
  target: CompressingImage,
  options: CompressedConvertOptions,
): Promise<void> {
  await withWholeSources(sources, () => convertClusters(sources, target, options));
}

async function convertClusters(
  sources: readonly DiskImage[],
  target: CompressingImage,
  options: CompressedConvertOptions,
): Promise<void> {
  const { clusterBytes } = target;
  const chunkBytes = Math.max(CHUNK_BYTES, clusterBytes);
  const { compression, leaveUnallocated, onLost, onProgress, pace, parallel } = options;
  const { signal, targetIsZero, threads } = options;
  const plan = copyPlan(sources, {
    unitBytes: clusterBytes,
    chunkBytes,
    copyHoles: false,
    leaveUnallocated,
  });
  const total = sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const frames = new ZstdFrames(clusterBytes, threads);
  const buffers = new BufferPool(chunkBytes);
  const deflate = (plain: Buffer): Promise<Uint8Array | undefined> =>
    compression === 'zstd' ? frames.compress(plain) : deflateCluster(compression, plain);
  const work = async (step: CopyStep) => {
    const buffer = buffers.take();
    const clusters = await compressChunk(sources, step, { buffer, clusterBytes, deflate, onLost });
    return { step, buffer, clusters };
  };
  try {
    for await (const { step, buffer, clusters } of inOrder(plan, parallel, work)) {
      signal?.throwIfAborted();
      const { action, offset, length } = step;
      if (action === 'copy') await pace?.spend(length, signal);
      if (action === 'zero' && !targetIsZero) target.writeZeroesSync(offset, length, true);
      for (const { offset: at, plain, deflated, zero } of clusters) {
        if (!zero) target.writeCompressed(at, plain, deflated);
        else if (!targetIsZero) target.writeZeroesSync(at, plain.length, true);
      }
      buffers.give(buffer);
      onProgress?.(offset + length, total);
    }
  } finally {
    frames.close();
  }
}

interface ChunkWork {
  readonly buffer: Buffer;
  readonly clusterBytes: number;
  readonly deflate: (plain: Buffer) => Promise<Uint8Array | undefined>;
  readonly onLost: OnLost | undefined;
}

async function compressChunk(
  sources: readonly DiskImage[],
  { action, offset, length }: CopyStep,
  { buffer, clusterBytes, deflate, onLost }: ChunkWork,
): Promise<CompressedCluster[]> {
  if (action !== 'copy') return [];
  // The image's last cluster is padded with zeroes before it is compressed.
  const bytes = buffer.subarray(0, Math.ceil(length / clusterBytes) * clusterBytes);
  bytes.fill(0, length);
  await readSources(sources, offset, bytes.subarray(0, length), onLost);
  const clusters: Promise<CompressedCluster>[] = [];
  for (let start = 0; start < length; start += clusterBytes) {
    const whole = bytes.subarray(start, start + clusterBytes);
    const plain = bytes.subarray(start, Math.min(length, start + clusterBytes));
    const zero = isZero(plain, 0, plain.length);
    const cluster = { offset: offset + start, plain, zero };
    clusters.push(
      zero
        ? Promise.resolve({ ...cluster, deflated: undefined })
        : deflate(whole).then((deflated) => ({ ...cluster, deflated })),
    );
  }
  return await Promise.all(clusters);
}
