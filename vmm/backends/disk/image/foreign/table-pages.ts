import type { ImageFile } from '../../file/image-file.ts';

const PAGE_BYTES = 64 * 1024;
/** 4 MiB: a table may be far larger, but is mostly read in order. */
const PAGES_MAX = 64;

/** Reads tables in pages and caches the last ones: no table is completely in memory. */
export class TablePages {
  readonly #file: ImageFile;
  /** The least recently used one first. */
  readonly #pages = new Map<number, DataView>();

  constructor(file: ImageFile) {
    this.#file = file;
  }

  /**
   * A view of at least `bytes` at an offset of the file. The bytes must not cross a multiple of 64
   * KiB, as entries of an aligned table do not.
   */
  viewAt(offset: number, bytes: number): DataView {
    const into = offset % PAGE_BYTES;
    const page = this.#page(offset - into);
    return new DataView(page.buffer, into, bytes);
  }

  #page(offset: number): DataView {
    const known = this.#pages.get(offset);
    if (known !== undefined) {
      // A Map iterates in the order of insertion.
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
