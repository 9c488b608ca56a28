/**
 * An L2 entry as two 32-bit words: QEMU's docs/interop/qcow2.txt, "Cluster mapping" and "Extended L2
 * Entries".
 */
import type { Geometry } from '../header/geometry.ts';
import {
  HIGH_COMPRESSED,
  HIGH_COPIED,
  HIGH_OFFSET_MASK,
  LOW_OFFSET_MASK,
  LOW_ZERO,
} from '../header/layout.ts';

/**
 * What an entry says about its cluster. Small integers, since this is evaluated for each cluster.
 */
export const EntryKind = {
  UNALLOCATED: 0,
  /** It has a host cluster; with extended L2 entries the bitmap has the details. */
  STANDARD: 1,
  ZERO_PLAIN: 2,
  /** It reads as zeroes and has a host cluster. */
  ZERO_ALLOCATED: 3,
  COMPRESSED: 4,
} as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

const WORD = 2 ** 32;
/** Bits 0 to 29 of the high word: descriptor bits of a compressed cluster. */
const HIGH_DESCRIPTOR_MASK = 0x3fff_ffff;
const SECTOR_BYTES = 512;

export function entryKind(high: number, low: number, geometry: Geometry): EntryKind {
  if ((high & HIGH_COMPRESSED) !== 0) return EntryKind.COMPRESSED;
  // "The offset may only be 0 with bit 63 set when an external data file is used."
  const hasCluster =
    (high & HIGH_OFFSET_MASK) !== 0 ||
    (low & LOW_OFFSET_MASK) !== 0 ||
    (geometry.externalData && (high & HIGH_COPIED) !== 0);
  if (!geometry.extendedL2 && (low & LOW_ZERO) !== 0) {
    return hasCluster ? EntryKind.ZERO_ALLOCATED : EntryKind.ZERO_PLAIN;
  }
  return hasCluster ? EntryKind.STANDARD : EntryKind.UNALLOCATED;
}

/** Host offset in a standard entry or an L1 entry, in bytes; may be 2^53 or more. */
export function hostOffset(high: number, low: number): number {
  return (high & HIGH_OFFSET_MASK) * WORD + ((low & LOW_OFFSET_MASK) >>> 0);
}

/** True when the refcount of the referenced cluster is exactly one. */
export function isCopied(high: number): boolean {
  return (high & HIGH_COPIED) !== 0;
}

/** The high word of an entry that refers to `offset` exclusively. */
export function ownedHigh(offset: number): number {
  return (HIGH_COPIED | Math.floor(offset / WORD)) >>> 0;
}

export function lowWord(offset: number): number {
  return offset >>> 0;
}

/** The place of a compressed cluster. */
export interface CompressedSpan {
  /** Host offset in bytes, unaligned. */
  readonly offset: number;
  /** Bytes up to the end of the last sector; the compressed data may end before. */
  readonly length: number;
}

/** Bits of the descriptor that hold the host offset: x in "Compressed Clusters Descriptor". */
function compressedOffsetBits(geometry: Geometry): number {
  return 62 - (geometry.clusterBits - 8);
}

export function compressedSpan(high: number, low: number, geometry: Geometry): CompressedSpan {
  const highOffsetBits = compressedOffsetBits(geometry) - 32;
  const descriptor = high & HIGH_DESCRIPTOR_MASK;
  const offset = (descriptor % 2 ** highOffsetBits) * WORD + (low >>> 0);
  const sectors = (descriptor >>> highOffsetBits) + 1;
  return { offset, length: sectors * SECTOR_BYTES - (offset % SECTOR_BYTES) };
}

/** The end of the host offsets that a compressed cluster can have. */
export function compressedOffsetEnd(geometry: Geometry): number {
  return 2 ** Math.min(compressedOffsetBits(geometry), 53);
}

export function compressedHigh(offset: number, length: number, geometry: Geometry): number {
  const highOffsetBits = compressedOffsetBits(geometry) - 32;
  const firstSector = Math.floor(offset / SECTOR_BYTES);
  const moreSectors = Math.floor((offset + length - 1) / SECTOR_BYTES) - firstSector;
  return (HIGH_COMPRESSED | (moreSectors << highOffsetBits) | Math.floor(offset / WORD)) >>> 0;
}

/** Bits `from` up to, not including, `to` of a 32-bit word. */
export function bitRange(from: number, to: number): number {
  if (to <= from) return 0;
  const width = to - from;
  return (width === 32 ? 0xffff_ffff : ((1 << width) - 1) << from) >>> 0;
}
