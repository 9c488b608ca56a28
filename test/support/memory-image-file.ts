import type { ImageFile } from '../../vmm/backends/disk/file/image-file.ts';

const PAGE_BYTES = 4096;

/** An image file in memory, sparse, for tests that examine writes or make them fail. */
export class MemoryImageFile implements ImageFile {
  readonly path: string;
  readonly fd = -1;
  readonly readOnly: boolean;
  readonly isBlockDevice = false;
  syncs = 0;
  writes = 0;
  closed = false;
  #size = 0;
  readonly #pages = new Map<number, Uint8Array>();

  constructor(content: Uint8Array = new Uint8Array(0), path = 'memory.img', readOnly = false) {
    this.path = path;
    this.readOnly = readOnly;
    this.#put(0, content);
  }

  sizeBytes(): number {
    return this.#size;
  }

  /** The whole file. */
  content(): Uint8Array {
    const bytes = new Uint8Array(this.#size);
    this.readSync(0, bytes);
    return bytes;
  }

  readSync(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const into = at % PAGE_BYTES;
      const part = Math.min(PAGE_BYTES - into, target.length - done);
      const page = this.#pages.get((at - into) / PAGE_BYTES);
      if (page === undefined) target.fill(0, done, done + part);
      else target.set(page.subarray(into, into + part), done);
      done += part;
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.readSync(offset, target);
  }

  writeSync(offset: number, data: Uint8Array): void {
    this.writes++;
    this.#put(offset, data);
  }

  async write(offset: number, data: Uint8Array): Promise<void> {
    this.writeSync(offset, data);
  }

  writeZeroesSync(offset: number, length: number, _deallocate: boolean): void {
    this.#clear(offset, offset + length);
    this.#size = Math.max(this.#size, offset + length);
  }

  discardSync(offset: number, length: number): void {
    this.writeZeroesSync(offset, length, true);
  }

  allocateSync(offset: number, length: number): void {
    this.#size = Math.max(this.#size, offset + length);
  }

  expectWritesSync(_offset: number, _length: number): void {}

  nextDataSync(offset: number): number {
    for (let at = offset; at < this.#size; at += PAGE_BYTES - (at % PAGE_BYTES)) {
      if (this.#pages.has(Math.floor(at / PAGE_BYTES))) return at;
    }
    return this.#size;
  }

  nextHoleSync(offset: number): number {
    for (let at = offset; at < this.#size; at += PAGE_BYTES - (at % PAGE_BYTES)) {
      if (!this.#pages.has(Math.floor(at / PAGE_BYTES))) return at;
    }
    return this.#size;
  }

  truncateSync(sizeBytes: number): void {
    if (sizeBytes < this.#size) this.#clear(sizeBytes, this.#size);
    this.#size = sizeBytes;
  }

  datasyncSync(): void {
    this.syncs++;
  }

  async datasync(): Promise<void> {
    this.datasyncSync();
  }

  close(): void {
    this.closed = true;
  }

  #put(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const into = at % PAGE_BYTES;
      const part = Math.min(PAGE_BYTES - into, data.length - done);
      this.#page((at - into) / PAGE_BYTES).set(data.subarray(done, done + part), into);
      done += part;
    }
    this.#size = Math.max(this.#size, offset + data.length);
  }

  #page(index: number): Uint8Array {
    const present = this.#pages.get(index);
    if (present !== undefined) return present;
    const page = new Uint8Array(PAGE_BYTES);
    this.#pages.set(index, page);
    return page;
  }

  #clear(start: number, end: number): void {
    for (let at = start; at < end; ) {
      const into = at % PAGE_BYTES;
      const part = Math.min(PAGE_BYTES - into, end - at);
      const index = (at - into) / PAGE_BYTES;
      if (part === PAGE_BYTES) this.#pages.delete(index);
      else this.#pages.get(index)?.fill(0, into, into + part);
      at += part;
    }
  }
}
