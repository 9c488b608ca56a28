import { writeSync } from 'node:fs';

const BUFFER_BYTES = 256 * 1024;

/** Writes pieces of a file that mostly follow one another; what is between them stays a hole. */
export class RegionWriter {
  readonly #fd: number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #start = 0;
  #used = 0;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Zeroed space for `length` bytes at `position`, behind all before it. To be filled at once. */
  space(position: number, length: number): Buffer {
    const gap = position - this.#start - this.#used;
    if (gap < 0) throw new RangeError('a region is written from its front to its back');
    const fits = this.#used > 0 && this.#used + gap + length <= BUFFER_BYTES;
    if (!fits) {
      this.flush();
      this.#start = position;
    } else {
      this.#used += gap;
    }
    const at = this.#used;
    if (length > BUFFER_BYTES) throw new RangeError('a piece is larger than the buffer');
    this.#used += length;
    return this.#buffer.subarray(at, at + length);
  }

  /** Writes a piece of any length. */
  write(position: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length; ) {
      const part = bytes.subarray(done, done + BUFFER_BYTES);
      this.space(position + done, part.length).set(part);
      done += part.length;
    }
  }

  flush(): void {
    for (let done = 0; done < this.#used; ) {
      done += writeSync(this.#fd, this.#buffer, done, this.#used - done, this.#start + done);
    }
    this.#buffer.fill(0, 0, this.#used);
    this.#start += this.#used;
    this.#used = 0;
  }
}
