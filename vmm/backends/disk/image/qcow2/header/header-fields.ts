import type { CompressionKind } from '../map/compression.ts';
import type { BitmapsExtension, HeaderExtension } from './header-extensions.ts';

/** A header whose fields have been validated. Offsets are bytes in the image's file. */
export interface Header {
  readonly version: 2 | 3;
  /** 9 to 21: a cluster is `2 ** clusterBits` bytes. */
  readonly clusterBits: number;
  /** What a guest sees: a multiple of 512. */
  readonly sizeBytes: number;
  /** As the image says it: relative to the image's folder unless absolute. */
  readonly backingName: string | undefined;
  /** The backing image's format, which the specification lets be absent. */
  readonly backingFormat: string | undefined;
  /** Where in the first cluster the backing name is; 0 without one. */
  readonly backingNameOffset: number;
  readonly l1Offset: number;
  /** May be more than the size needs: the rest maps the VM state of snapshots. */
  readonly l1Entries: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** 1, 2, 4, … 64: the width of a refcount. */
  readonly refcountBits: number;
  readonly snapshotCount: number;
  /** 0 without snapshots. */
  readonly snapshotsOffset: number;
  /** Refcounts may be wrong, and have to be repaired before a write. */
  readonly dirty: boolean;
  /** Metadata may be broken: nothing is written but by a repair. */
  readonly corrupt: boolean;
  /** Guest clusters are in a file of their own. */
  readonly externalDataFile: boolean;
  /** The name of that file, unless the user has to give it. */
  readonly dataFileName: string | undefined;
  /** The external data file shows the guest's content by itself, all of it. */
  readonly rawExternalData: boolean;
  readonly extendedL2: boolean;
  readonly compressionType: CompressionKind;
  readonly lazyRefcounts: boolean;
  /** Bits of features that nothing is known about; they are kept. */
  readonly unknownCompatible: bigint;
  /** Likewise; cleared by the first write to the image. */
  readonly unknownAutoclear: bigint;
  /** The bitmaps extension; `undefined` when there is none, or when `bitmapsConsistent` is not set. */
  readonly bitmaps: BitmapsExtension | undefined;
  /** The bitmaps are up to date; cleared by the first write to the image. */
  readonly bitmapsConsistent: boolean;
  /** Every other extension, the feature name table among them, byte for byte and in its order. */
  readonly extensions: readonly HeaderExtension[];
  /** header_length. */
  readonly headerBytes: number;
  /** What a version 3 header has behind `compression_type`. */
  readonly unknownFields: Uint8Array;
}
