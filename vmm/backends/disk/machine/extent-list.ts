import { type Extent, SECTOR_BYTES } from './extent.ts';

/**
 * Extents to push, as few as they can be: each part that goes on where the last one ends, on the
 * disk and in its file, makes that longer.
 */
export class ExtentList {
  readonly #extents: { -readonly [Key in keyof Extent]: Extent[Key] }[] = [];

  get extents(): readonly Extent[] {
    return this.#extents;
  }

  /**
   * Adds the whole sectors of a part; the parts of sectors at its ends have no extent.
   * @returns whether all of it is in the list
   */
  add(extent: Extent): boolean {
    const offset = Math.ceil(extent.offset / SECTOR_BYTES) * SECTOR_BYTES;
    const end = extent.offset + extent.length;
    const length = Math.floor(end / SECTOR_BYTES) * SECTOR_BYTES - offset;
    const { fd, zero, readOnly } = extent;
    const fdOffset = extent.fdOffset + offset - extent.offset;
    if (length > 0) {
      const last = this.#extents.at(-1);
      const continues =
        last !== undefined &&
        last.offset + last.length === offset &&
        last.zero === zero &&
        last.readOnly === readOnly &&
        (zero || (last.fd === fd && last.fdOffset + last.length === fdOffset));
      if (continues) last.length += length;
      else this.#extents.push({ offset, length, fd, fdOffset, zero, readOnly });
    }
    return length === extent.length;
  }
}
