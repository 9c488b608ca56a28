import type { ImageFile } from '../../file/image-file.ts';

const PAGE_BYTES = 64 * 1024;
/** 4 MiB: a table may be far larger, and is gone through in order most of the time. */
const PAGES_MAX = 64;

/** Reads parts of tables, and keeps what was read last: no table is in memory as a whole. */
export class TablePages {
  readonly #file: ImageFile;
  /** The one used last comes last. */
  readonly #pages = new Map<number, DataView>();

  constructor(file: ImageFile) {
    this.#file = file;
  }

  /**
   * A view that begins at an offset of the file and holds at least `bytes`, which do not cross a
   * multiple of 64 KiB: a field of a table that is aligned to its entries.
   */
  viewAt(offset: number, bytes: number): DataView {
    const into = offset % PAGE_BYTES;
    const page = this.#page(offset - into);
    return new DataView(page.buffer, into, bytes);
  }

  #page(offset: number): DataView {
    const known = this.#pages.get(offset);
    if (known !== undefined) {
      // A Map is in the order of insertion.
      this.#pages.delete(offset);
      this.#pages.set(offset, known);
      return known;
    }
    const bytes = new Uint8Array(PAGE_BYTES);
    this.#file.readSync(offset, bytes);
    const page = new DataView(bytes.buffer);
    this.#pages.set(offset, page);
    const [oldest] = this.#pages.keys();
    if (this.#pages.size > PAGES_MAX && oldest !== undefined) this.#pages.delete(oldest);
    return page;
  }
}
