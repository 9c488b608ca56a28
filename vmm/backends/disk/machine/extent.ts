/**
 * One piece of a disk whose bytes the data plane finds by itself: it knows extents, and no image
 * format.
 */
export interface Extent {
  /** Where it begins on the disk: bytes, a multiple of 512. */
  readonly offset: number;
  /** Bytes, a multiple of 512. */
  readonly length: number;
  /** Host file, and where in it the bytes are; unused for a zero extent. */
  readonly fd: number;
  readonly fdOffset: number;
  /** Reads give zeroes, and `fd` is not touched. */
  readonly zero: boolean;
  /**
   * Writes go to the backend's script. A zero extent that is not read-only gives what is written to
   * a place in the spare space, see `Disk.addSpare`.
   */
  readonly readOnly: boolean;
}

/** The unit in which a guest sees a disk, in bytes. */
export const SECTOR_BYTES = 512;
