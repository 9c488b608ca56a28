import { writeSync } from 'node:fs';

const BUFFER_BYTES = 256 * 1024;

/** Writes mostly adjacent pieces of a file. Gaps between them stay holes. */
export class RegionWriter {
  /** The buffer that {@link reserve} returns offsets in. */
  readonly bytes = Buffer.from(new ArrayBuffer(BUFFER_BYTES));
  readonly view = new DataView(this.bytes.buffer);
  readonly #fd: number;
  #start = 0;
  #used = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Reserves `length` bytes at `position` of the file, which must not be before earlier ones.
   * @param length up to 256 KiB
   * @returns their offset in {@link bytes}: zeroes, to be filled before the next call
   */
  reserve(position: number, length: number): number {
    const gap = position - this.#start - this.#used;
    if (gap < 0) throw new RangeError('a region is written from its front to its back');
    if (length > BUFFER_BYTES) throw new RangeError('a piece is larger than the buffer');
    const fits = this.#used > 0 && this.#used + gap + length <= BUFFER_BYTES;
    if (!fits) {
      this.flush();
      this.#start = position;
    } else {
      this.#used += gap;
    }
    const at = this.#used;
    this.#used += length;
    return at;
  }

  /** Writes a piece of any length. */
  write(position: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + BUFFER_BYTES);
      this.bytes.set(part, this.reserve(position + done, part.length));
      done += part.length;
    }
  }

  flush(): void {
    for (let done = 0; done < this.#used; ) {
      done += writeSync(this.#fd, this.bytes, done, this.#used - done, this.#start + done);
    }
    this.bytes.fill(0, 0, this.#used);
    this.#start += this.#used;
    this.#used = 0;
  }
}
