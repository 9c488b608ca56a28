/** A range of a file, in bytes. */
export interface FileRange {
  readonly file: ImageFile;
  readonly offset: number;
  readonly length: number;
}

/**
 * A file that holds an image or a part of one. Tests have their own implementations: one in memory,
 * one that records every write and sync. All offsets and lengths are bytes.
 *
 * As in `node:fs`, methods named `…Sync` are done when they return; the others resolve. Metadata is
 * read and written synchronously, so that no other request sees it half done; bulk data and
 * `datasync` also have asynchronous forms.
 *
 * @throws TsvmError `disk-io` from each method when the host fails
 */
export interface ImageFile {
  /** For messages, and as the base of relative names of backing files. */
  readonly path: string;
  /** The descriptor that extents refer to. */
  readonly fd: number;
  readonly readOnly: boolean;
  /** A block device has a fixed size, and unwritten parts need not read as zeroes. */
  readonly isBlockDevice: boolean;
  /** The current size. */
  sizeBytes(): number;
  /** Fills `target`; past the end of the file everything reads as zeroes. */
  readSync(offset: number, target: Uint8Array): void;
  read(offset: number, target: Uint8Array): Promise<void>;
  /** Writes all of `data`; the file grows as needed. */
  writeSync(offset: number, data: Uint8Array): void;
  write(offset: number, data: Uint8Array): Promise<void>;
  /**
   * Makes the range read as zeroes; the file grows when the range ends past it.
   * @param deallocate punches a hole where the file system can; otherwise the space stays allocated
   */
  writeZeroesSync(offset: number, length: number, deallocate: boolean): void;
  /** Deallocates space inside the file where the host can; the range's content is then undefined. */
  discardSync(offset: number, length: number): void;
  /** Allocates space for the range, whose content stays; new parts of the file read as zeroes. */
  allocateSync(offset: number, length: number): void;
  /**
   * A hint that a range without data will be written soon. The file may grow to the end of the
   * range. Never fails.
   */
  expectWritesSync(offset: number, length: number): void;
  /** The first byte from `offset` on that may be other than zero; the file's size if none. */
  nextDataSync(offset: number): number;
  /** The first byte from `offset` on that is known to be in a hole; the file's size if none. */
  nextHoleSync(offset: number): number;
  truncateSync(sizeBytes: number): void;
  /** fdatasync(2): everything written is on stable storage, and the file's size. */
  datasyncSync(): void;
  datasync(): Promise<void>;
  close(): void;
}
