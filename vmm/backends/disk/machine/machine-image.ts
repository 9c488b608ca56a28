import type { FileRange } from '../file/image-file.ts';
import type { DiskImage } from '../image/image.ts';

/** What a machine's disk needs of an image besides {@link DiskImage}. */
export interface MachineImage extends DiskImage {
  /** Metadata has to be written before a flush is complete: syncing the files is not enough. */
  readonly metadataDirty: boolean;
  /** The next change flushes first, synchronously, unless `flush` is called before. */
  readonly flushWanted: boolean;
  /** Whether free clusters can be reserved; where not, the next three are not used. */
  readonly canReserve: boolean;
  /** Reserves adjoining free clusters, at least one and at most `clusters`, which read as zeroes. */
  reserveSync(clusters: number): FileRange;
  /** Releases what was reserved and not claimed. */
  releaseSync(range: FileRange): void;
  /** Maps a range that read as zeroes to reserved clusters, which were written; idempotent. */
  applyClaimSync(offset: number, length: number, fileOffset: number): void;
  /** Makes every cluster that the range touches writable in place; the content stays. */
  prepareWriteSync(offset: number, length: number): void;
}
