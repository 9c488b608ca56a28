import { chainRunAt } from '../chain-run.ts';
import type { ImageFormat } from '../format.ts';
import type { DiskImage, ImageRun } from '../image.ts';
import { ReadOnlyImage } from '../read-only-image.ts';

/** A part of an image's content, with its chain, as a read-only image of its own. */
export class SliceView extends ReadOnlyImage {
  readonly format: ImageFormat;
  readonly clusterBytes: number;
  readonly sizeBytes: number;
  readonly #image: DiskImage;
  readonly #offset: number;
  readonly #length: number;

  /**
   * @param image stays the caller's
   * @param offset bytes, inside the image
   * @param length bytes; the rest of the last sector reads as zeroes
   */
  constructor(image: DiskImage, offset: number, length: number) {
    super(image.file);
    this.#image = image;
    this.#offset = offset;
    this.#length = length;
    this.format = image.format;
    this.clusterBytes = image.clusterBytes;
    this.sizeBytes = Math.ceil(length / 512) * 512;
  }

  mapSync(offset: number, length: number): ImageRun {
    const left = this.#length - offset;
    if (left <= 0) return { kind: 'zero', length, file: undefined, fileOffset: 0, writable: false };
    const run = chainRunAt(this.#image, this.#offset + offset, Math.min(length, left));
    return { ...run, writable: false };
  }

  readSync(offset: number, target: Uint8Array): void {
    this.#image.readSync(this.#offset + offset, this.#present(offset, target));
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await this.#image.read(this.#offset + offset, this.#present(offset, target));
  }

  close(): void {}

  /** The part that is in the image; the rest is zeroed. */
  #present(offset: number, target: Uint8Array): Uint8Array {
    const length = Math.max(0, Math.min(target.length, this.#length - offset));
    target.fill(0, length);
    return target.subarray(0, length);
  }
}
