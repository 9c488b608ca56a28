/**
 * A file that holds an image or a part of one, as the image formats use it. Tests put their own
 * implementations here: one in memory, one that records every write and sync.
 *
 * Names are those of `node:fs`: what ends in `Sync` is done when it returns, the rest resolves.
 * Metadata is read and written synchronously, since no other request may see it half done; bulk data
 * and `datasync`, which take their time, have asynchronous forms.
 */
export interface ImageFile {
  /** For messages, and for finding a backing file relative to it. */
  readonly path: string;
  /** The open file, as an extent names it. */
  readonly fd: number;
  readonly readOnly: boolean;
  /** A block device neither grows nor shrinks, and what was never written is not zero. */
  readonly isBlockDevice: boolean;
  /** Bytes, now. */
  sizeBytes(): number;
  /** Fills `target`; what lies behind the end of the file reads as zeroes. */
  readSync(offset: number, target: Uint8Array): void;
  read(offset: number, target: Uint8Array): Promise<void>;
  /** Writes all, and lets the file grow as it must. */
  writeSync(offset: number, data: Uint8Array): void;
  write(offset: number, data: Uint8Array): Promise<void>;
  /**
   * Makes the range read as zeroes, growing the file when the range ends behind it.
   * `deallocate`: gives the space back where the file system can; else the space stays reserved.
   */
  writeZeroesSync(offset: number, length: number, deallocate: boolean): void;
  /** Gives space inside the file back where the host can; what the range reads as is anything then. */
  discardSync(offset: number, length: number): void;
  /** Reserves space for the range, which reads as before (a file's new part: zeroes). */
  allocateSync(offset: number, length: number): void;
  /**
   * The range, in which nothing was written yet, soon will be: a chance to make that faster. The
   * file may grow to its end. What fails is no error here.
   */
  expectWritesSync(offset: number, length: number): void;
  /** The first byte at or behind `offset` that may be other than zero; the file's size if none. */
  nextDataSync(offset: number): number;
  /** The first byte at or behind `offset` that is known to be in a hole; the size if none. */
  nextHoleSync(offset: number): number;
  truncateSync(sizeBytes: number): void;
  /** fdatasync(2): all that was written is on the disk, the file's size included. */
  datasyncSync(): void;
  datasync(): Promise<void>;
  close(): void;
}
