import type { ImageFile } from '../file/image-file.ts';
import type { ImageFormat } from './format.ts';

/**
 * What a part of one layer is.
 * - `data`: bytes in a file, as they are.
 * - `compressed`: bytes in a file that have to be inflated.
 * - `zero`: reads as zeroes, whatever the backing image has there.
 * - `unallocated`: the backing image decides; zeroes where there is none.
 */
export type RunKind = 'data' | 'compressed' | 'zero' | 'unallocated';

/** A run of bytes of one layer that are of one kind and, where they have a place, adjoin there. */
export interface ImageRun {
  readonly kind: RunKind;
  /** Bytes, at least 1. */
  readonly length: number;
  /** For `data`, and for `zero` that has space reserved: where it lies. */
  readonly file: ImageFile | undefined;
  readonly fileOffset: number;
  /** `data` only: may be written in place, with no metadata to change. */
  readonly writable: boolean;
}

/**
 * An open disk image of any format: what the tools (convert, compare, commit, map, …) and the disk
 * of a machine are made of. Offsets and lengths are bytes, any, inside the image.
 *
 * One operation that changes the image at a time: the caller waits for a promise before it starts
 * the next one, except that `read` and `write` of ranges in different clusters may overlap.
 *
 * @throws TsvmError from each operation: `invalid-disk` when the image's metadata lies, `disk-io`
 * when the host's file fails
 */
export interface DiskImage {
  readonly format: ImageFormat;
  readonly file: ImageFile;
  /** What a guest sees, a multiple of 512. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** What `unallocated` parts read from; may be smaller or larger than this image. */
  readonly backing: DiskImage | undefined;
  /** The unit of allocation, a power of two; for raw, what is good for I/O. */
  readonly clusterBytes: number;
  /** The run that begins at `offset`, at most `length` long, of this layer only. */
  mapSync(offset: number, length: number): ImageRun;
  /** Reads through the whole chain. */
  readSync(offset: number, target: Uint8Array): void;
  read(offset: number, target: Uint8Array): Promise<void>;
  writeSync(offset: number, data: Uint8Array): void;
  /** Maps at once, before it returns; the data goes its way asynchronously. */
  write(offset: number, data: Uint8Array): Promise<void>;
  /**
   * Makes the range readable as zeroes. `mayUnmap`: space may be given back; then what has no
   * backing image may become `unallocated`.
   */
  writeZeroesSync(offset: number, length: number, mayUnmap: boolean): void;
  /** Gives the range's space back where whole clusters are in it; it then reads as zeroes. */
  discardSync(offset: number, length: number): void;
  /** Changes the size; what is new reads as zeroes. Shrinking loses what lies behind. */
  resizeSync(sizeBytes: number): void;
  /** Data, and the metadata that finds it, are on the host's disk when this is done. */
  flushSync(): void;
  flush(): Promise<void>;
  /** Writes what is outstanding and closes the files of this image, not the backing image's. */
  close(): void;
}
