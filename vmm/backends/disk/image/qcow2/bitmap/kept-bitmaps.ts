import { TsvmError } from '../../../../../errors.ts';
import type { Qcow2Image } from '../qcow2-image.ts';
import { BitmapChanges } from './bitmap-changes.ts';

/**
 * Keeps the bitmaps of an image while a tool changes its content or size, as QEMU does: writes are
 * recorded in those that are enabled. From the first change until {@link store} the file has no bitmaps:
 * a crash loses them, and their space until it is repaired.
 */
export class KeptBitmaps {
  readonly #image: Qcow2Image;
  #changes: BitmapChanges | undefined;
  /** Why they are not kept. */
  #lost: string | undefined;

  /** @param image open for writing, unchanged so far */
  constructor(image: Qcow2Image) {
    this.#image = image;
    this.#try(() => {
      this.#changes = new BitmapChanges(image);
    });
    image.metadata.header.onBitmapsLost = () => this.#hold();
  }

  /** Somebody else cares for them. */
  leave(): void {
    this.#image.metadata.header.onBitmapsLost = undefined;
  }

  /** The image gets another content as a whole: they will be removed. */
  drop(): void {
    this.#lost = 'this change makes them invalid';
    this.#changes?.removeAll();
  }

  /**
   * Writes them to an image that has changed; call it before the image is closed.
   * @returns why they are lost; undefined when they are not
   */
  store(): string | undefined {
    const { header, metadata } = this.#image;
    if (!metadata.hasChanged || header.bitmaps !== undefined) return undefined;
    this.#image.onChange = undefined;
    this.#try(() => this.#changes?.store());
    return this.#lost;
  }

  #hold(): void {
    this.#try(() => this.#changes?.hold());
    this.#image.onChange = (offset, length) => this.#changes?.record(offset, length);
  }

  #try(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      this.#lost = error.message;
      this.#changes = undefined;
    }
  }
}
