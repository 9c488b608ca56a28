import type { DiskImage } from '../image/image.ts';

/** Memory for reads in flight. No driver asks for so much at once, but a hostile one may. */
const BYTES_MAX = 64 * 2 ** 20;

/** Reads from an image with bounded memory: reads beyond the bound wait for others to end. */
export class BoundedReader {
  readonly #image: DiskImage;
  #bytesInFlight = 0;
  #waiting: (() => void)[] = [];

  constructor(image: DiskImage) {
    this.#image = image;
  }

  /** @throws TsvmError `invalid-disk`, `disk-io`; RangeError for more than 64 MiB */
  async read(offset: number, length: number): Promise<Uint8Array> {
    if (length > BYTES_MAX) throw new RangeError(`a read of ${length} bytes is too long`);
    while (this.#bytesInFlight + length > BYTES_MAX) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#bytesInFlight += length;
    try {
      const data = new Uint8Array(length);
      await this.#image.read(offset, data);
      return data;
    } finally {
      this.#bytesInFlight -= length;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }
}
