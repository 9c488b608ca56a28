import type { ImageFile } from '../file/image-file.ts';
import type { ImageFormat } from './format.ts';

/**
 * Kinds of parts of one layer:
 * - `data`: plain bytes in a file.
 * - `compressed`: compressed bytes in a file.
 * - `zero`: reads as zeroes, whatever the backing image has there.
 * - `unallocated`: reads from the backing image; zeroes where there is none.
 */
export type RunKind = 'data' | 'compressed' | 'zero' | 'unallocated';

/**
 * A run of bytes of one layer that are of one kind and adjoin in the file, if they have a place.
 */
export interface ImageRun {
  readonly kind: RunKind;
  /** Bytes, at least 1. */
  readonly length: number;
  /** Its place, for `data` and for `zero` with allocated space. */
  readonly file: ImageFile | undefined;
  readonly fileOffset: number;
  /** `data` only: can be written in place without changing metadata. */
  readonly writable: boolean;
}

/**
 * An open disk image of any format, which the tools (convert, compare, commit, map, …) and the
 * machine's disk work with. Offsets and lengths are bytes inside the image, not necessarily
 * aligned.
 *
 * Changes are exclusive: the caller awaits one before it starts the next, except that `read` and
 * `write` of ranges in different clusters may be concurrent.
 *
 * @throws TsvmError from each operation: `invalid-disk` for invalid metadata, `disk-io` when the
 * host fails
 */
export interface DiskImage {
  readonly format: ImageFormat;
  readonly file: ImageFile;
  /** The size of the disk, a multiple of 512. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** The image that `unallocated` parts read from; its size may differ from this image's. */
  readonly backing: DiskImage | undefined;
  /** The unit of allocation, a power of two; for raw, a good I/O size. */
  readonly clusterBytes: number;
  /** The run that begins at `offset`, at most `length` long, of this layer only. */
  mapSync(offset: number, length: number): ImageRun;
  /** Reads through the whole chain. */
  readSync(offset: number, target: Uint8Array): void;
  read(offset: number, target: Uint8Array): Promise<void>;
  writeSync(offset: number, data: Uint8Array): void;
  /** Allocates before it returns; the data is written asynchronously. */
  write(offset: number, data: Uint8Array): Promise<void>;
  /**
   * Makes the range read as zeroes.
   * @param mayUnmap space may be deallocated; without a backing image the range may become
   * `unallocated`
   */
  writeZeroesSync(offset: number, length: number, mayUnmap: boolean): void;
  /** Deallocates the whole clusters in the range, which then read as zeroes. */
  discardSync(offset: number, length: number): void;
  /** Changes the size; new parts read as zeroes. Shrinking discards what is cut off. */
  resizeSync(sizeBytes: number): void;
  /** Makes all data and metadata durable. */
  flushSync(): void;
  flush(): Promise<void>;
  /** Writes outstanding metadata and closes the files of this image, not of the backing image. */
  close(): void;
}
