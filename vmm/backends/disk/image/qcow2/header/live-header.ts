import type { ImageFile } from '../../../file/image-file.ts';
import { rewriteHeader, writeHeader } from './header-encode.ts';
import type { Header } from './header-fields.ts';

/** The header of an open image. Each change is durable when it is made. */
export class LiveHeader {
  readonly #file: ImageFile;
  #current: Header;
  /** The size in the file, while it is not yet the one that is used here. */
  #oldSizeBytes: number | undefined;
  /** The image had bitmaps, which its first change has made invalid. */
  onBitmapsLost: (() => void) | undefined;

  constructor(file: ImageFile, header: Header) {
    this.#file = file;
    this.#current = header;
  }

  get current(): Header {
    return this.#current;
  }

  /** There are bits that have to go before the image's content changes. */
  get hasAutoclear(): boolean {
    return this.#current.bitmapsConsistent || this.#current.unknownAutoclear !== 0n;
  }

  /** "Software that does not know a bit must clear it"; and bitmaps are not kept up to date here. */
  clearAutoclear(): void {
    if (!this.hasAutoclear) return;
    const hadBitmaps = this.#current.bitmaps !== undefined;
    this.update({ unknownAutoclear: 0n, bitmapsConsistent: false, bitmaps: undefined });
    if (hadBitmaps) this.onBitmapsLost?.();
  }

  /** "Dirty bit": refcounts may be wrong. Version 3 only. */
  setDirty(dirty: boolean): void {
    if (this.#current.dirty !== dirty) this.update({ dirty });
  }

  /** "Corrupt bit". Version 3 only. */
  setCorrupt(): void {
    if (!this.#current.corrupt) this.update({ corrupt: true });
  }

  /** Writes the fields that changed and what is written before them is durable when this is done. */
  update(changes: Partial<Header>): void {
    const next = { ...this.#current, ...changes };
    const sizeBytes = this.#oldSizeBytes ?? next.sizeBytes;
    writeHeader(this.#file, { ...next, sizeBytes });
    this.#current = next;
    this.#file.datasyncSync();
  }

  /** The same for extensions and names. Their file has to be in order: everything else is durable. */
  rewrite(changes: Partial<Header>): void {
    this.#current = rewriteHeader(this.#file, { ...this.#current, ...changes });
  }

  /**
   * Makes the disk larger. `prepare` works on the larger disk already, and has made durable what the
   * new part contains when it ends: a crash before that leaves the old size.
   */
  enlarge(sizeBytes: number, prepare: () => void): void {
    const oldSizeBytes = this.#current.sizeBytes;
    this.#oldSizeBytes = oldSizeBytes;
    this.#current = { ...this.#current, sizeBytes };
    try {
      prepare();
    } catch (error) {
      this.#current = { ...this.#current, sizeBytes: oldSizeBytes };
      throw error;
    } finally {
      this.#oldSizeBytes = undefined;
    }
    this.update({ sizeBytes });
  }
}
