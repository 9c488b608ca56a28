/** Files that record their operations in order, so that a crash can be placed anywhere. */
import { MemoryImageFile } from '../support/memory-image-file.ts';

/** A change of a file, or a request to make all changes so far durable. */
export type FileEvent = EventTimes & EventDetails;

interface EventTimes {
  /** Index of the file. */
  readonly file: number;
  readonly begin: number;
  /** When it ended; infinite before. */
  end: number;
}

type EventDetails =
  | { readonly kind: 'write'; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'zeroes'; readonly offset: number; readonly length: number }
  | { readonly kind: 'grow' | 'truncate'; readonly sizeBytes: number }
  | { readonly kind: 'sync' };

/** The events of all files of an image, on one clock. */
export class Journal {
  readonly events: FileEvent[] = [];
  #now = 0;

  /** A moment after everything so far. */
  now(): number {
    this.#now += 1;
    return this.#now;
  }

  begin(file: number, details: EventDetails): FileEvent {
    const event: FileEvent = { file, begin: this.now(), end: Number.POSITIVE_INFINITY, ...details };
    this.events.push(event);
    return event;
  }

  record(file: number, details: EventDetails): void {
    const event = this.begin(file, details);
    event.end = this.now();
  }
}

/** A file in memory. Its content changes when an operation begins, as in a page cache. */
export class RecordingFile extends MemoryImageFile {
  /** Index of the file. */
  readonly #index: number;
  readonly #journal: Journal;

  constructor(index: number, journal: Journal) {
    super();
    this.#index = index;
    this.#journal = journal;
  }

  override writeSync(offset: number, data: Uint8Array): void {
    this.#journal.record(this.#index, { kind: 'write', offset, data: data.slice() });
    super.writeSync(offset, data);
  }

  override async write(offset: number, data: Uint8Array): Promise<void> {
    const details = { kind: 'write', offset, data: data.slice() } as const;
    const event = this.#journal.begin(this.#index, details);
    super.writeSync(offset, data);
    await later();
    event.end = this.#journal.now();
  }

  override writeZeroesSync(offset: number, length: number, deallocate: boolean): void {
    this.#journal.record(this.#index, { kind: 'zeroes', offset, length });
    super.writeZeroesSync(offset, length, deallocate);
  }

  override allocateSync(offset: number, length: number): void {
    this.#journal.record(this.#index, { kind: 'grow', sizeBytes: offset + length });
    super.allocateSync(offset, length);
  }

  override truncateSync(sizeBytes: number): void {
    this.#journal.record(this.#index, { kind: 'truncate', sizeBytes });
    super.truncateSync(sizeBytes);
  }

  override datasyncSync(): void {
    this.#journal.record(this.#index, { kind: 'sync' });
  }

  override async datasync(): Promise<void> {
    const event = this.#journal.begin(this.#index, { kind: 'sync' });
    await later();
    event.end = this.#journal.now();
  }
}

/** Long enough for other operations to begin meanwhile. */
function later(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
