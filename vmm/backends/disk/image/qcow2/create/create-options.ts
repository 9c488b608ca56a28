import { TsvmError } from '../../../../../errors.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import type { ImageFormat } from '../../format.ts';
import {
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  EXTENDED_L2_CLUSTER_BITS_MIN,
  L1_BYTES_MAX,
  REFCOUNT_ORDER_MAX,
} from '../header/layout.ts';
import type { CompressionKind } from '../map/compression.ts';

/** Options of a new image: those of `qemu-img create -o`, with the same defaults. */
export interface CreateOptions {
  /** Size of the disk; rounded up to a multiple of 512. */
  readonly sizeBytes: number;
  /** `compat`: 2 is "0.10", 3 is "1.1". */
  readonly version?: 2 | 3;
  /** A power of two from 512 bytes to 2 MiB; 64 KiB by default. */
  readonly clusterBytes?: number;
  /** A power of two from 1 to 64; 16 by default. */
  readonly refcountBits?: number;
  readonly lazyRefcounts?: boolean;
  readonly extendedL2?: boolean;
  readonly compressionType?: CompressionKind;
  readonly backing?: { readonly name: string; readonly format: ImageFormat } | undefined;
  /**
   * External data file: empty, open, the caller's to close. `raw`: it alone has the guest's
   * content.
   */
  readonly dataFile?:
    | { readonly file: ImageFile; readonly name: string; readonly raw: boolean }
    | undefined;
}

/**
 * What is preallocated. `metadata`: tables map the whole disk; `falloc`: and space is allocated;
 * `full`: and written.
 */
export const PREALLOCATIONS = ['off', 'metadata', 'falloc', 'full'] as const;
export type Preallocation = (typeof PREALLOCATIONS)[number];

/** Options that are complete and consistent. */
export interface CheckedOptions {
  readonly sizeBytes: number;
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly refcountBits: number;
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  readonly compressionType: CompressionKind;
  readonly backing: CreateOptions['backing'];
  readonly dataFile: CreateOptions['dataFile'];
  readonly l1Entries: number;
}

/** @throws TsvmError `invalid-config` naming the options that contradict each other */
export function checkCreateOptions(options: CreateOptions): CheckedOptions {
  const checked = {
    sizeBytes: Math.ceil(options.sizeBytes / 512) * 512,
    version: options.version ?? 3,
    clusterBits: Math.log2(options.clusterBytes ?? 65_536),
    refcountBits: options.refcountBits ?? 16,
    lazyRefcounts: options.lazyRefcounts ?? false,
    extendedL2: options.extendedL2 ?? false,
    compressionType: options.compressionType ?? 'zlib',
    backing: options.backing,
    dataFile: options.dataFile,
  } as const;
  const { clusterBits } = checked;
  const clusterBytes = 2 ** clusterBits;
  if (
    !Number.isInteger(clusterBits) ||
    clusterBits < CLUSTER_BITS_MIN ||
    clusterBits > CLUSTER_BITS_MAX
  ) {
    refuse('the cluster size must be a power of two from 512 bytes to 2 MiB');
  }
  const refcountOrder = Math.log2(checked.refcountBits);
  if (!Number.isInteger(refcountOrder) || refcountOrder < 0 || refcountOrder > REFCOUNT_ORDER_MAX) {
    refuse('the refcount width must be a power of two from 1 to 64 bits');
  }
  if (checked.version === 2) refuseNewer(checked);
  if (checked.extendedL2 && clusterBits < EXTENDED_L2_CLUSTER_BITS_MIN) {
    refuse('extended L2 entries need clusters of 16 KiB or more');
  }
  if (checked.dataFile?.raw === true && checked.backing !== undefined) {
    refuse('a backing file and a raw external data file exclude each other');
  }
  if (!Number.isSafeInteger(checked.sizeBytes) || checked.sizeBytes < 0) {
    refuse(`a disk cannot have ${options.sizeBytes} bytes`);
  }
  const l2Entries = clusterBytes / (checked.extendedL2 ? 16 : 8);
  // An empty disk has an L1 table too, so that the table has a place.
  const l1Entries = Math.max(1, Math.ceil(checked.sizeBytes / (l2Entries * clusterBytes)));
  if (l1Entries * 8 > L1_BYTES_MAX) {
    refuse(`${checked.sizeBytes} bytes are too many for this cluster size: take larger clusters`);
  }
  return { ...checked, l1Entries };
}

/** Options that need version 3, `compat=1.1`. */
function refuseNewer(options: Omit<CheckedOptions, 'l1Entries'>): void {
  const newer = [
    options.refcountBits !== 16 && 'refcounts other than 16 bits wide',
    options.lazyRefcounts && 'lazy refcounts',
    options.extendedL2 && 'extended L2 entries',
    options.compressionType !== 'zlib' && `${options.compressionType} compression`,
    options.dataFile !== undefined && 'an external data file',
  ].filter((what) => what !== false);
  if (newer.length > 0) refuse(`compat=0.10 has no ${newer.join(', no ')}: use compat=1.1`);
}

function refuse(why: string): never {
  throw new TsvmError('invalid-config', `the image cannot be created: ${why}`);
}
