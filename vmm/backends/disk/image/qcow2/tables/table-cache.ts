import { type DirtyTables, MetadataTable } from './metadata-table.ts';

/** Approximate memory of a table besides its bytes. */
const OVERHEAD_BYTES = 512;
/** An operation uses at most two tables at once, which must not be evicted meanwhile. */
const TABLES_MIN = 4;

/** Memory that a cached table takes. */
export function tableMemoryBytes(tableBytes: number): number {
  return tableBytes + OVERHEAD_BYTES;
}

/** An L2 table or a refcount block. */
export class CachedTable extends MetadataTable {
  /** Index in the table above it: L1 table or refcount table. */
  readonly index: number;
  /** The table above refers to it in the file already, so that writes to it take effect at once. */
  linked: boolean;
  /** A flush in progress has parts of it that are not in the file yet. */
  writing = false;
  /** Used since the cache last looked for something to evict. */
  recentlyUsed = true;

  constructor(
    index: number,
    fileOffset: number,
    bytes: Uint8Array,
    linked: boolean,
    dirtyTables: DirtyTables,
  ) {
    super(fileOffset, bytes, dirtyTables);
    this.index = index;
    this.linked = linked;
  }
}

/**
 * Tables of one kind in memory. Clean ones are evicted when there are too many; dirty ones stay until
 * a flush has written them, since the cache never writes. It may therefore exceed its bound by what
 * one operation changes: the image flushes between operations when {@link isCrowded}.
 */
export class TableCache {
  readonly #tables = new Map<number, CachedTable>();
  readonly #dirtyTables = new Set<CachedTable>();
  #newTables = new Set<CachedTable>();
  readonly #memoryBytes: number;
  readonly #capacity: number;
  #last: CachedTable | undefined;

  /** @param budgetBytes memory for all tables */
  constructor(tableBytes: number, budgetBytes: number) {
    this.#memoryBytes = tableMemoryBytes(tableBytes);
    this.#capacity = Math.max(Math.floor(budgetBytes / this.#memoryBytes), TABLES_MIN);
  }

  get bytesUsed(): number {
    return this.#tables.size * this.#memoryBytes;
  }

  /** More than half of the tables are dirty: a flush should make room. */
  get isCrowded(): boolean {
    return this.#dirtyTables.size * 2 > this.#capacity;
  }

  get hasDirty(): boolean {
    return this.#dirtyTables.size > 0;
  }

  /** A snapshot of the dirty tables. */
  dirtyTables(): CachedTable[] {
    return [...this.#dirtyTables];
  }

  /** Takes the list of tables that are not linked yet. */
  takeNewTables(): Set<CachedTable> {
    const tables = this.#newTables;
    this.#newTables = new Set();
    return tables;
  }

  /** Undoes {@link takeNewTables} for tables that were not linked. */
  restoreNewTables(tables: Iterable<CachedTable>): void {
    for (const table of tables) this.#newTables.add(table);
  }

  get(index: number): CachedTable | undefined {
    if (this.#last?.index === index) return this.#last;
    const table = this.#tables.get(index);
    if (table !== undefined) {
      table.recentlyUsed = true;
      this.#last = table;
    }
    return table;
  }

  /** Adds a table; replaces the one with the same index. */
  add(index: number, fileOffset: number, bytes: Uint8Array, linked: boolean): CachedTable {
    this.remove(index);
    while (this.#tables.size >= this.#capacity && this.#dropOne()) {
      // Until there is room, or nothing left to evict.
    }
    const table = new CachedTable(index, fileOffset, bytes, linked, this.#dirtyTables);
    this.#tables.set(index, table);
    if (!linked) this.#newTables.add(table);
    this.#last = table;
    return table;
  }

  /** Drops a table with its unwritten changes. */
  remove(index: number): void {
    const table = this.#tables.get(index);
    if (table === undefined) return;
    this.#tables.delete(index);
    this.#dirtyTables.delete(table);
    this.#newTables.delete(table);
    if (this.#last === table) this.#last = undefined;
  }

  /** Drops all tables: the file's have been changed by something else. */
  clear(): void {
    this.#tables.clear();
    this.#dirtyTables.clear();
    this.#newTables.clear();
    this.#last = undefined;
  }

  /** Second chance: evicts the oldest table that was not used since it was last passed over. */
  #dropOne(): boolean {
    let passes = this.#tables.size * 2;
    for (const [index, table] of this.#tables) {
      if (passes-- === 0) return false;
      if (table.recentlyUsed || table === this.#last || !isEvictable(table)) {
        table.recentlyUsed = false;
        this.#tables.delete(index);
        this.#tables.set(index, table);
        continue;
      }
      this.#tables.delete(index);
      return true;
    }
    return false;
  }
}

/** The file has all of it, at the place where a later read looks for it. */
function isEvictable(table: CachedTable): boolean {
  return table.linked && !table.writing && !table.isDirty;
}
