/**
 * The order in which metadata reaches the file. After a crash at any moment, whatever was written
 * since the last barrier being there or not, refcounts in the file are never lower than the
 * references there, and everything referred to is complete:
 *
 * 1. refcount blocks, and L2 tables that the L1 table does not refer to yet; guest data is written
 *   already — barrier
 * 2. the refcount table, which refers to new refcount blocks — barrier
 * 3. entries of the other L2 tables, and the L1 table, which refers to new L2 tables — barrier
 * 4. only now unlinked clusters lose their refcounts and may be reused
 */
import type { ImageFile } from '../../../file/image-file.ts';
import type { FlushCopies, ImageMetadata } from '../image-metadata.ts';
import type { TableWrite } from './metadata-table.ts';
import type { CachedTable } from './table-cache.ts';

/** The files whose writes so far must be durable before the flush goes on. */
export type FlushBarrier = readonly ImageFile[];

/**
 * A flush of what is dirty when this is called: it is copied, so that the image may change while
 * the flush waits; such changes are left to the next flush. One flush at a time.
 *
 * @returns the steps; when one throws, everything is dirty again
 */
export function flushSteps(metadata: ImageMetadata): Generator<FlushBarrier, void, void> {
  return new Flush(metadata).steps();
}

class Flush implements FlushCopies {
  readonly #metadata: ImageMetadata;
  readonly #early: TableWrite[] = [];
  readonly #refcountTable: TableWrite[] = [];
  readonly #linking: TableWrite[] = [];
  readonly #newTables: Set<CachedTable>;
  readonly #held: CachedTable[] = [];
  readonly #frees: readonly number[];
  /** The length that the file needs to contain every cluster in use. */
  readonly #fileEnd: number;
  #earlyWritten = false;

  constructor(metadata: ImageMetadata) {
    this.#metadata = metadata;
    metadata.flushCopies = this;
    const { allocator, l1, l2, refcounts } = metadata;
    if (!metadata.leavesRefcounts) {
      for (const block of refcounts.blocks.dirtyTables()) {
        block.takeWrites(this.#early);
        this.#hold(block);
      }
      refcounts.table.takeWrites(this.#refcountTable);
    }
    for (const table of l2.cache.dirtyTables()) {
      table.takeWrites(table.linked ? this.#linking : this.#early);
      this.#hold(table);
    }
    this.#newTables = l2.cache.takeNewTables();
    l1.takeWrites(this.#linking);
    this.#frees = allocator.pending.take();
    this.#fileEnd = allocator.endOffset;
  }

  *steps(): Generator<FlushBarrier, void, void> {
    const { allocator, dataFile, file } = this.#metadata;
    const data = dataFile === file ? [] : [dataFile];
    let linking = false;
    let finished = false;
    try {
      const hasMetadata =
        this.#early.length > 0 || this.#refcountTable.length > 0 || this.#linking.length > 0;
      if (hasMetadata) {
        if (this.#linking.length > 0 && this.#metadata.leavesRefcounts) {
          this.#metadata.header.setDirty(true);
        }
        this.writeEarly();
      }
      yield [file, ...data];
      if (this.#refcountTable.length > 0) {
        this.#write(this.#refcountTable);
        yield [file];
      }
      if (this.#linking.length > 0) {
        linking = true;
        for (const table of this.#newTables) table.linked = true;
        this.#write(this.#linking);
        yield [file];
      }
      finished = true;
    } finally {
      this.#metadata.flushCopies = undefined;
      for (const table of this.#held) table.writing = false;
      if (!finished) this.#undo(linking);
    }
    if (this.#frees.length === 0) return;
    allocator.release(this.#frees);
    // Without a sync: until this is durable a crash costs space and nothing else.
    if (!this.#metadata.leavesRefcounts) this.#metadata.writeRefcountBlocks();
  }

  writeEarly(): void {
    if (this.#earlyWritten) return;
    this.#extendFile();
    this.#write(this.#early);
    this.#earlyWritten = true;
  }

  #hold(table: CachedTable): void {
    table.writing = true;
    this.#held.push(table);
  }

  #write(writes: readonly TableWrite[]): void {
    const { file } = this.#metadata;
    for (const { table, at, bytes } of writes) file.writeSync(table.fileOffset + at, bytes);
  }

  /**
   * Extends the file: a table in a fresh cluster is written only in part, and data may not have
   * arrived. Never truncates: another thread may extend the file beyond this at any moment.
   */
  #extendFile(): void {
    const { file } = this.#metadata;
    if (file.isBlockDevice || file.sizeBytes() >= this.#fileEnd) return;
    file.allocateSync(this.#fileEnd - 1, 1);
  }

  /** @param linked references to new tables may be in the file already */
  #undo(linked: boolean): void {
    if (!linked) this.#metadata.l2.cache.restoreNewTables(this.#newTables);
    for (const writes of [this.#early, this.#refcountTable, this.#linking]) {
      for (const { table, at, bytes } of writes) table.markDirty(at, bytes.byteLength);
    }
    this.#metadata.allocator.pending.restore(this.#frees);
  }
}
