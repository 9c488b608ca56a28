/**
 * Compressed clusters: QEMU's docs/interop/qcow2.txt, "Compressed Clusters Descriptor". A cluster is
 * one raw deflate stream (RFC 1951) or one zstd frame (RFC 8878). The image tells only in which
 * sectors the stream lies, so what follows it there belongs to other clusters.
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
import { zstdFrameBytes } from './zstd-frame.ts';

export type CompressionKind = 'zlib' | 'zstd';

/** QEMU inflates with a window of 2^12 bytes: a stream that looks back further is lost on it. */
const WINDOW_BITS = 12;
const DEFLATE = { windowBits: WINDOW_BITS } as const;

// At their first use, since in the bundle that is what loads `node:zlib`, for a millisecond or two.
const deflateRawAsync = once(() => promisify(deflateRaw) as typeof deflateRaw.__promisify__);
const inflateRawAsync = once(() => promisify(inflateRaw) as typeof inflateRaw.__promisify__);
const zstdCompressAsync = once(() => promisify(zstdCompress) as typeof zstdCompress.__promisify__);
const zstdDecompressAsync = once(
  () => promisify(zstdDecompress) as typeof zstdDecompress.__promisify__,
);

/**
 * Inflates one cluster.
 * @param bytes the sectors that hold it, from its first byte on; more may follow it
 * @returns exactly `clusterBytes`; never more is produced, whatever the stream says
 * @throws TsvmError `invalid-disk` when the stream is broken, or does not make one cluster
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

/** {@link inflateClusterSync} on another thread. `bytes` must stay as they are until it resolves. */
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
 * @returns `undefined` when it does not get smaller: it is then stored as it is
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

/** {@link deflateClusterSync} on another thread. `plain` must stay as it is until it resolves. */
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

/** Lets the frame say how long the cluster is, and zstd choose its tables for that. */
function pledge(plain: Uint8Array): { pledgedSrcSize: number } {
  return { pledgedSrcSize: plain.length };
}

/** The first output buffer is made for the whole cluster, so that none has to be put together. */
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
