import { fstatSync, readSync } from 'node:fs';

/** Enough for a header and a small file, and small enough for the processor's cache. */
const WINDOW_BYTES = 128 * 1024;
/** Alignment of the window's start, so that numbers in a tar header are aligned. */
const ALIGNMENT = 512;

/** A file that is read forwards, with gaps. */
export class ByteWindow {
  readonly sizeBytes: number;
  /** The buffer that {@link locate} returns offsets in. */
  readonly bytes: Buffer;
  /** The same memory, four bytes each, little-endian. */
  readonly words: Int32Array;
  readonly #fd: number;
  #start = 0;
  #end = 0;

  /** @param fd not closed by this object */
  constructor(fd: number) {
    this.#fd = fd;
    this.sizeBytes = fstatSync(fd).size;
    const memory = new ArrayBuffer(WINDOW_BYTES + ALIGNMENT);
    this.bytes = Buffer.from(memory);
    this.words = new Int32Array(memory);
  }

  /**
   * @returns the place in {@link bytes} of the data at `offset`, valid until the next call; -1 if the
   * file ends before
   * @param length up to 128 KiB
   */
  locate(offset: number, length: number): number {
    if (offset >= this.#start && offset + length <= this.#end) return offset - this.#start;
    this.#fill(offset);
    return offset + length <= this.#end ? offset - this.#start : -1;
  }

  /**
   * The bytes at `offset`, valid until the next call; fewer than `length` at the end of the file.
   * @param length up to 128 KiB
   */
  view(offset: number, length: number): Buffer {
    const available = Math.max(0, Math.min(length, this.sizeBytes - offset));
    const at = this.locate(offset, available);
    return this.bytes.subarray(Math.max(at, 0), at < 0 ? 0 : at + available);
  }

  /** A copy of the bytes at `offset`, of any length. */
  copy(offset: number, length: number): Buffer {
    const bytes = Buffer.allocUnsafe(Math.min(length, Math.max(0, this.sizeBytes - offset)));
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(this.#fd, bytes, done, bytes.length - done, offset + done);
      if (got === 0) return bytes.subarray(0, done);
      done += got;
    }
    return bytes;
  }

  #fill(offset: number): void {
    this.#start = offset - (offset % ALIGNMENT);
    this.#end = this.#start;
    for (let room = this.bytes.length; room > 0; ) {
      const done = this.bytes.length - room;
      const got = readSync(this.#fd, this.bytes, done, room, this.#end);
      if (got === 0) return;
      this.#end += got;
      room -= got;
    }
  }
}
