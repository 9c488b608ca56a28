/**
 * Compressed clusters: QEMU's docs/interop/qcow2.txt, "Compressed Clusters Descriptor". A cluster
 * is one raw deflate stream (RFC 1951) or one zstd frame (RFC 8878). The image records only the
 * sectors of a stream, so the bytes after it belong to other clusters.
 */
import { promisify } from 'node:util';
import {
  deflateRaw,
  deflateRawSync,
  inflateRaw,
  inflateRawSync,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} from 'node:zlib';
import { TsvmError } from '../../../../../errors.ts';
import { once } from '../../../../../util/once.ts';
import { zstdFrameBytes } from '../../../../../util/zstd-frame.ts';

export type CompressionKind = 'zlib' | 'zstd';

/** QEMU inflates with a window of 2^12 bytes and fails on streams that refer back further. */
const WINDOW_BITS = 12;
const DEFLATE = { windowBits: WINDOW_BITS } as const;

// Created at their first use, which in the bundle loads `node:zlib`: a millisecond or two.
const deflateRawAsync = once(() => promisify(deflateRaw) as typeof deflateRaw.__promisify__);
const inflateRawAsync = once(() => promisify(inflateRaw) as typeof inflateRaw.__promisify__);
const zstdCompressAsync = once(() => promisify(zstdCompress) as typeof zstdCompress.__promisify__);
const zstdDecompressAsync = once(
  () => promisify(zstdDecompress) as typeof zstdDecompress.__promisify__,
);

/**
 * Inflates one cluster.
 * @param bytes the sectors that hold it, from its first byte; other data may follow
 * @returns exactly `clusterBytes`; never more is produced, whatever the stream contains
 * @throws TsvmError `invalid-disk` when the stream is invalid, or is not one cluster
 */
export function inflateClusterSync(
  kind: CompressionKind,
  bytes: Uint8Array,
  clusterBytes: number,
): Uint8Array {
  const limit = inflateLimit(clusterBytes);
  try {
    const plain =
      kind === 'zlib'
        ? inflateRawSync(bytes, limit)
        : zstdDecompressSync(bytes.subarray(0, zstdFrameBytes(bytes)), limit);
    return wholeCluster(plain, clusterBytes);
  } catch (cause) {
    throw brokenCluster(kind, cause);
  }
}

/** {@link inflateClusterSync} on another thread. `bytes` must not change until it resolves. */
export async function inflateCluster(
  kind: CompressionKind,
  bytes: Uint8Array,
  clusterBytes: number,
): Promise<Uint8Array> {
  const limit = inflateLimit(clusterBytes);
  try {
    const plain =
      kind === 'zlib'
        ? await inflateRawAsync()(bytes, limit)
        : await zstdDecompressAsync()(bytes.subarray(0, zstdFrameBytes(bytes)), limit);
    return wholeCluster(plain, clusterBytes);
  } catch (cause) {
    throw brokenCluster(kind, cause);
  }
}

/**
 * Deflates one whole cluster.
 * @returns `undefined` when it does not get smaller: it is then stored uncompressed
 */
export function deflateClusterSync(
  kind: CompressionKind,
  plain: Uint8Array,
): Uint8Array | undefined {
  return ifSmaller(
    kind === 'zlib' ? deflateRawSync(plain, DEFLATE) : zstdCompressSync(plain, pledge(plain)),
    plain,
  );
}

/** {@link deflateClusterSync} on another thread. `plain` must not change until it resolves. */
export async function deflateCluster(
  kind: CompressionKind,
  plain: Uint8Array,
): Promise<Uint8Array | undefined> {
  return ifSmaller(
    kind === 'zlib'
      ? await deflateRawAsync()(plain, DEFLATE)
      : await zstdCompressAsync()(plain, pledge(plain)),
    plain,
  );
}

/** Records the cluster's length in the frame, and lets zstd size its tables for it. */
function pledge(plain: Uint8Array): { pledgedSrcSize: number } {
  return { pledgedSrcSize: plain.length };
}

/** One output buffer for the whole cluster, so that none have to be joined. */
function inflateLimit(clusterBytes: number): { maxOutputLength: number; chunkSize: number } {
  return { maxOutputLength: clusterBytes, chunkSize: clusterBytes };
}

function wholeCluster(plain: Uint8Array, clusterBytes: number): Uint8Array {
  if (plain.length === clusterBytes) return plain;
  throw new RangeError(`it inflates to ${plain.length} bytes instead of ${clusterBytes}`);
}

function brokenCluster(kind: CompressionKind, cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TsvmError('invalid-disk', `a ${kind}-compressed cluster is broken: ${reason}`, {
    cause,
  });
}

function ifSmaller(deflated: Uint8Array, plain: Uint8Array): Uint8Array | undefined {
  return deflated.length < plain.length ? deflated : undefined;
}
