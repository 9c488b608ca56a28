import type { CompressionKind } from '../map/compression.ts';
import type { BitmapsExtension, HeaderExtension } from './header-extensions.ts';

/** A header whose fields have been validated. Offsets are bytes in the image's file. */
export interface Header {
  readonly version: 2 | 3;
  /** 9 to 21: a cluster is `2 ** clusterBits` bytes. */
  readonly clusterBits: number;
  /** Size of the disk, a multiple of 512. */
  readonly sizeBytes: number;
  /** As in the image: relative to the image's folder unless absolute. */
  readonly backingName: string | undefined;
  /** Format of the backing image; optional in the specification. */
  readonly backingFormat: string | undefined;
  /** Offset of the backing name in the first cluster; 0 without one. */
  readonly backingNameOffset: number;
  readonly l1Offset: number;
  /** May be more than the size needs: further entries map the VM state of snapshots. */
  readonly l1Entries: number;
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  /** Width of a refcount: 1, 2, 4, … 64. */
  readonly refcountBits: number;
  readonly snapshotCount: number;
  /** 0 without snapshots. */
  readonly snapshotsOffset: number;
  /** Refcounts may be wrong and must be repaired before a write. */
  readonly dirty: boolean;
  /** Metadata may be invalid: only a repair may write. */
  readonly corrupt: boolean;
  /** Guest clusters are in a separate file. */
  readonly externalDataFile: boolean;
  /** Name of that file; undefined when the user has to give it. */
  readonly dataFileName: string | undefined;
  /** The external data file alone has the guest's content, like a raw image. */
  readonly rawExternalData: boolean;
  readonly extendedL2: boolean;
  readonly compressionType: CompressionKind;
  readonly lazyRefcounts: boolean;
  /** Unknown feature bits; they are kept. */
  readonly unknownCompatible: bigint;
  /** Likewise; cleared by the first write to the image. */
  readonly unknownAutoclear: bigint;
  /** The bitmaps extension; `undefined` without one, or when `bitmapsConsistent` is not set. */
  readonly bitmaps: BitmapsExtension | undefined;
  /** The bitmaps are up to date; cleared by the first write to the image. */
  readonly bitmapsConsistent: boolean;
  /** All other extensions, including the feature name table, unchanged and in order. */
  readonly extensions: readonly HeaderExtension[];
  /** header_length. */
  readonly headerBytes: number;
  /** Fields of a version 3 header after `compression_type`. */
  readonly unknownFields: Uint8Array;
}
