import { fstatSync, readSync } from 'node:fs';

/** Enough for a header and a small file's content at a time, and not much more. */
const WINDOW_BYTES = 128 * 1024;

/** A file that is read from the front to the back, with gaps. */
export class ByteWindow {
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #buffer: Buffer;
  #start = 0;
  #end = 0;

  /** @param fd stays its opener's */
  constructor(fd: number, windowBytes = WINDOW_BYTES) {
    this.#fd = fd;
    this.sizeBytes = fstatSync(fd).size;
    this.#buffer = Buffer.allocUnsafe(windowBytes);
  }

  /**
   * The bytes from `offset`: fewer than `length` where the file ends. Good until the next call.
   * @param length up to the window's size
   */
  view(offset: number, length: number): Buffer {
    if (offset < this.#start || offset + length > this.#end) this.#fill(offset);
    const from = Math.min(offset, this.#end) - this.#start;
    return this.#buffer.subarray(from, Math.min(from + length, this.#end - this.#start));
  }

  /** A copy of the bytes from `offset`, however many. */
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
    this.#start = offset;
    this.#end = offset;
    while (this.#end - offset < this.#buffer.length) {
      const done = this.#end - offset;
      const got = readSync(this.#fd, this.#buffer, done, this.#buffer.length - done, this.#end);
      if (got === 0) return;
      this.#end += got;
    }
  }
}
