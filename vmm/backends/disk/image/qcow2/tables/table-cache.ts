import { MetadataTable } from './metadata-table.ts';

/** What a table costs in memory beside its bytes, about. */
const OVERHEAD_BYTES = 512;
/** An operation uses two tables at once at most; what it uses must not go under its hands. */
const TABLES_MIN = 4;

/** Memory that a cached table takes. */
export function tableMemoryBytes(tableBytes: number): number {
  return tableBytes + OVERHEAD_BYTES;
}

/** An L2 table or a refcount block. */
export class CachedTable extends MetadataTable {
  /** Its number in the table above: the L1 index, or the refcount table's. */
  readonly index: number;
  /**
   * The table above refers to it in the file already, so that what is written to it counts at once.
   */
  linked: boolean;
  /** A flush under way holds parts of it that the file does not have yet. */
  writing = false;
  /** Asked for since the cache last looked for something to drop. */
  recentlyUsed = true;

  constructor(
    index: number,
    fileOffset: number,
    bytes: Uint8Array,
    linked: boolean,
    dirtyTables: Set<MetadataTable>,
  ) {
    super(fileOffset, bytes, dirtyTables);
    this.index = index;
    this.linked = linked;
  }
}

/**
 * Tables of one kind in memory. Clean ones give way when there are too many; dirty ones stay until a
 * flush has written them, so that the cache never writes by itself. It may thus be above its bound
 * by what one operation changes: the image flushes between operations when {@link isCrowded}.
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

  /** So many tables are dirty that clean ones soon find no place. */
  get isCrowded(): boolean {
    return this.#dirtyTables.size * 2 > this.#capacity;
  }

  get hasDirty(): boolean {
    return this.#dirtyTables.size > 0;
  }

  /** The dirty tables at this moment. */
  dirtyTables(): CachedTable[] {
    return [...this.#dirtyTables];
  }

  /** Takes the list of those that are not linked. */
  takeNewTables(): Set<CachedTable> {
    const tables = this.#newTables;
    this.#newTables = new Set();
    return tables;
  }

  /** Puts tables back into that list, since they have not been linked. */
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

  /** Adds a table that the cache does not have, or puts it in the place of the one it has. */
  add(index: number, fileOffset: number, bytes: Uint8Array, linked: boolean): CachedTable {
    this.remove(index);
    while (this.#tables.size >= this.#capacity && this.#dropOne()) {
      // Until there is room, or nothing that may go.
    }
    const dirtyTables = this.#dirtyTables as Set<MetadataTable>;
    const table = new CachedTable(index, fileOffset, bytes, linked, dirtyTables);
    this.#tables.set(index, table);
    if (!linked) this.#newTables.add(table);
    this.#last = table;
    return table;
  }

  /** Forgets a table, what is dirty of it as well. */
  remove(index: number): void {
    const table = this.#tables.get(index);
    if (table === undefined) return;
    this.#tables.delete(index);
    this.#dirtyTables.delete(table);
    this.#newTables.delete(table);
    if (this.#last === table) this.#last = undefined;
  }

  /** Forgets all tables: something else has changed them in the file. */
  clear(): void {
    this.#tables.clear();
    this.#dirtyTables.clear();
    this.#newTables.clear();
    this.#last = undefined;
  }

  /** Second chance: the oldest that was not asked for since it was last passed over. */
  #dropOne(): boolean {
    let passes = this.#tables.size * 2;
    for (const [index, table] of this.#tables) {
      if (passes-- === 0) return false;
      if (table.recentlyUsed || table === this.#last || !mayGo(table)) {
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

/** The file has all of it, and will be asked for it again where it lies. */
function mayGo(table: CachedTable): boolean {
  return table.linked && !table.writing && !table.isDirty;
}
