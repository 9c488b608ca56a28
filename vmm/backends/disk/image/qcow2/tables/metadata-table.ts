/** Granularity of writes: the page cache's own, so that a smaller one would save no I/O. */
const DIRTY_UNIT_BYTES = 4096;

/** A set of tables, of whatever kind. */
export interface DirtyTables {
  add(table: MetadataTable): unknown;
  delete(table: MetadataTable): unknown;
}

/** A copy of a part of a table, to be written to the file. */
export interface TableWrite {
  readonly table: MetadataTable;
  /** Byte offset in the table. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** A table of an image in memory, with the parts that are not in the file yet. */
export class MetadataTable {
  /** Offset of the table in the file. */
  readonly fileOffset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #unitBytes: number;
  readonly #dirtyUnits: Uint8Array;
  readonly #dirtyTables: DirtyTables | undefined;
  #dirty = 0;

  /** @param dirtyTables the set that contains the table while it is dirty */
  constructor(fileOffset: number, bytes: Uint8Array, dirtyTables?: DirtyTables) {
    this.fileOffset = fileOffset;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#unitBytes = Math.min(DIRTY_UNIT_BYTES, Math.max(bytes.byteLength, 1));
    this.#dirtyUnits = new Uint8Array(Math.ceil(bytes.byteLength / this.#unitBytes));
    this.#dirtyTables = dirtyTables;
  }

  get isDirty(): boolean {
    return this.#dirty > 0;
  }

  markDirty(at: number, length: number): void {
    const last = Math.floor((at + length - 1) / this.#unitBytes);
    for (let unit = Math.floor(at / this.#unitBytes); unit <= last; unit++) {
      if (this.#dirtyUnits[unit] === 1) continue;
      this.#dirtyUnits[unit] = 1;
      if (this.#dirty++ === 0) this.#dirtyTables?.add(this);
    }
  }

  /** Appends copies of everything dirty to `writes` and marks the table clean. */
  takeWrites(writes: TableWrite[]): void {
    for (let unit = 0; this.#dirty > 0; unit++) {
      if (this.#dirtyUnits[unit] !== 1) continue;
      const first = unit;
      for (; this.#dirtyUnits[unit] === 1; unit++) {
        this.#dirtyUnits[unit] = 0;
        this.#dirty--;
      }
      const at = first * this.#unitBytes;
      writes.push({ table: this, at, bytes: this.bytes.slice(at, unit * this.#unitBytes) });
    }
    this.#dirtyTables?.delete(this);
  }
}
