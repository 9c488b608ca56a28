import { SECTOR_BYTES } from '../../file/sector.ts';
import { chainRunAt } from '../chain-run.ts';
import type { DiskImage, RunKind } from '../image.ts';
import { BufferPool } from './buffer-pool.ts';
import { FileHoles, hasBytes } from './chain-map.ts';
import { inOrder } from './in-order.ts';
import type { WorkControl } from './work-control.ts';
import { isZero } from './zeroes.ts';

/** Size of one read of each image. */
const CHUNK_BYTES = 2 ** 20;
/** Chunks read ahead. */
const PARALLEL = 4;

export interface CompareOptions extends WorkControl {
  /** Sizes and allocation must be equal too. */
  readonly strict: boolean;
}

/** How two images differ; `offset` is the first sector that differs, in bytes. */
export type Difference =
  | { readonly kind: 'size' }
  | { readonly kind: 'content'; readonly offset: number }
  | { readonly kind: 'allocation'; readonly offset: number };

/** A range that is of one kind in either image. */
interface Stretch {
  readonly offset: number;
  readonly length: number;
  readonly parts: readonly [Part, Part];
}

interface Part {
  /** Undefined past the end of the image. */
  readonly kind: RunKind | undefined;
  readonly length: number;
  /** Whether bytes have to be read. */
  readonly isRead: boolean;
}

/**
 * Finds the first difference between the contents of two images; the shorter one counts as padded
 * with zeroes, unless `strict`. What is known to be zero in both is not read.
 *
 * @returns undefined when they are equal
 * @throws TsvmError `invalid-disk`, `disk-io`; the signal's reason when aborted
 */
export async function compareImages(
  first: DiskImage,
  second: DiskImage,
  options: CompareOptions,
): Promise<Difference | undefined> {
  const { strict, onProgress, signal } = options;
  if (strict && first.sizeBytes !== second.sizeBytes) return { kind: 'size' };
  const total = Math.max(first.sizeBytes, second.sizeBytes);
  const buffers = new BufferPool(CHUNK_BYTES);
  const images = [first, second] as const;
  const work = async (stretch: Stretch) => ({
    stretch,
    difference: await differenceIn(images, stretch, strict, buffers),
  });
  for await (const found of inOrder(stretches(images, total), PARALLEL, work)) {
    signal?.throwIfAborted();
    if (found.difference !== undefined) return found.difference;
    onProgress?.(found.stretch.offset + found.stretch.length, total);
  }
  return undefined;
}

function* stretches(
  [first, second]: readonly [DiskImage, DiskImage],
  total: number,
): Generator<Stretch, void, undefined> {
  const holes = [new FileHoles(), new FileHoles()] as const;
  for (let offset = 0; offset < total; ) {
    const a = partAt(first, offset, total - offset, holes[0]);
    const b = partAt(second, offset, a.length, holes[1]);
    // Ranges that are not read may have any length.
    const length = a.isRead || b.isRead ? Math.min(b.length, CHUNK_BYTES) : b.length;
    yield { offset, length, parts: [a, b] };
    offset += length;
  }
}

function partAt(image: DiskImage, offset: number, length: number, holes: FileHoles): Part {
  if (offset >= image.sizeBytes) return { kind: undefined, length, isRead: false };
  const run = chainRunAt(image, offset, Math.min(length, image.sizeBytes - offset));
  const part = holes.firstOf(run);
  return { kind: run.kind, length: part.length, isRead: hasBytes(run.kind) && !part.isHole };
}

async function differenceIn(
  images: readonly [DiskImage, DiskImage],
  { offset, length, parts }: Stretch,
  strict: boolean,
  buffers: BufferPool,
): Promise<Difference | undefined> {
  // Compression is no difference.
  const [a, b] = parts.map(({ kind }) => (kind === 'compressed' ? 'data' : kind));
  if (strict && a !== b) return { kind: 'allocation', offset };
  const [inFirst, inSecond] = [parts[0].isRead, parts[1].isRead];
  if (!inFirst && !inSecond) return undefined;
  const own = [buffers.take(), buffers.take()] as const;
  const [left, right] = own.map((buffer) => buffer.subarray(0, length)) as [Buffer, Buffer];
  try {
    await Promise.all([
      inFirst ? images[0].read(offset, left) : undefined,
      inSecond ? images[1].read(offset, right) : undefined,
    ]);
    if (inFirst && inSecond ? left.equals(right) : isZero(inFirst ? left : right, 0, length)) {
      return undefined;
    }
    if (!inFirst) left.fill(0);
    if (!inSecond) right.fill(0);
    return { kind: 'content', offset: offset + firstDifferentSector(left, right) };
  } finally {
    for (const buffer of own) buffers.give(buffer);
  }
}

/** The offset of the first sector that differs between two buffers, in bytes. */
function firstDifferentSector(left: Buffer, right: Buffer): number {
  for (let at = 0; ; at += SECTOR_BYTES) {
    const end = at + SECTOR_BYTES;
    if (!left.subarray(at, end).equals(right.subarray(at, end))) return at;
  }
}
