import type { ImageFile } from '../../../file/image-file.ts';
import { rewriteHeader, writeHeader } from './header-encode.ts';
import type { Header } from './header-fields.ts';

/** The header of an open image. Each change is durable when the call returns. */
export class LiveHeader {
  readonly #file: ImageFile;
  #current: Header;
  /** The size in the file while it differs from the one in use. */
  #oldSizeBytes: number | undefined;
  /** Called when the first change of the image has made its bitmaps invalid. */
  onBitmapsLost: (() => void) | undefined;

  constructor(file: ImageFile, header: Header) {
    this.#file = file;
    this.#current = header;
  }

  get current(): Header {
    return this.#current;
  }

  /** Bits that must be cleared before the image's content changes. */
  get hasAutoclear(): boolean {
    return this.#current.bitmapsConsistent || this.#current.unknownAutoclear !== 0n;
  }

  /** "Software that does not know a bit must clear it"; and bitmaps are not updated by writes. */
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

  /** Writes changed fields; they and everything written before are durable afterwards. */
  update(changes: Partial<Header>): void {
    const next = { ...this.#current, ...changes };
    const sizeBytes = this.#oldSizeBytes ?? next.sizeBytes;
    writeHeader(this.#file, { ...next, sizeBytes });
    this.#current = next;
    this.#file.datasyncSync();
  }

  /** Likewise for extensions and names. Everything else must be durable already. */
  rewrite(changes: Partial<Header>): void {
    this.#current = rewriteHeader(this.#file, { ...this.#current, ...changes });
  }

  /**
   * Makes the disk larger. `prepare` sees the larger disk and must make the content of the new part
   * durable: a crash before its end leaves the old size.
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
