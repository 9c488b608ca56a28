import { TsvmError } from '../../errors.ts';
import { printable } from '../../util/printable.ts';
import { type ByteOrder, Fields } from './fields.ts';

/** A disk to search, for example an open disk image. */
export interface DiskSource {
  readonly sizeBytes: number;
  /** Fills `target` with the bytes from `offset`; the range is inside the disk. */
  readSync(offset: number, target: Uint8Array): void;
}

/**
 * What may be read of a disk in one search, in bytes. It bounds time and memory whatever a hostile
 * disk contains: every loop in its structures reads, and so comes to an end.
 */
export const METADATA_BYTES_MAX = 256 * 2 ** 20;

const PAGE_BYTES = 16 * 1024;
const PAGES_MAX = 1024;

/** Pages of a disk, each read once, and the budget of a search. */
export class DiskReader {
  readonly sizeBytes: number;
  readonly #source: DiskSource;
  readonly #pages = new Map<number, Uint8Array>();
  #bytesLeft = METADATA_BYTES_MAX;

  constructor(source: DiskSource) {
    this.#source = source;
    this.sizeBytes = source.sizeBytes;
  }

  /**
   * Counts work against the budget.
   * @throws TsvmError `invalid-disk` when it is used up
   */
  spend(bytes: number): void {
    this.#bytesLeft -= bytes;
    if (this.#bytesLeft < 0) {
      throw new TsvmError(
        'invalid-disk',
        `its structures are larger than ${METADATA_BYTES_MAX / 2 ** 20} MiB or loop`,
      );
    }
  }

  /** Fills `target`; large reads are not cached. */
  readInto(offset: number, target: Uint8Array): void {
    if (target.length > PAGE_BYTES) {
      this.#source.readSync(offset, target);
      return;
    }
    for (let done = 0; done < target.length; ) {
      const at = offset + done;
      const start = at - (at % PAGE_BYTES);
      const part = this.#page(start).subarray(at - start, at - start + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  #page(start: number): Uint8Array {
    const known = this.#pages.get(start);
    if (known !== undefined) return known;
    const page = new Uint8Array(Math.min(PAGE_BYTES, this.sizeBytes - start));
    this.#source.readSync(start, page);
    if (this.#pages.size === PAGES_MAX) this.#pages.clear();
    this.#pages.set(start, page);
    return page;
  }
}

/** A range of a disk: the whole disk or a partition. Offsets in it may come from untrusted fields. */
export class Volume {
  /** For messages: `partition 2`, or `the disk`. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly #disk: DiskReader;
  readonly #start: number;

  /** @throws TsvmError `invalid-disk` when the range is not inside the disk */
  constructor(disk: DiskReader, name: string, start: number, sizeBytes: number) {
    this.name = name;
    this.#disk = disk;
    this.#start = start;
    this.sizeBytes = sizeBytes;
    if (!isInside(start, sizeBytes, disk.sizeBytes)) {
      throw this.invalid(`bytes ${start} to ${start + sizeBytes} are not inside the disk`);
    }
  }

  /** @param problem a phrase; parts from the disk are made safe for a terminal */
  invalid(problem: string): TsvmError {
    return new TsvmError('invalid-disk', `${this.name}: ${printable(problem)}`);
  }

  spend(bytes: number): void {
    this.#disk.spend(bytes);
  }

  /** The rest of the volume from an offset inside it. */
  part(start: number): Volume {
    this.#checked(start, 0, 'part');
    return new Volume(this.#disk, this.name, this.#start + start, this.sizeBytes - start);
  }

  /**
   * Reads a part of a structure.
   * @param what the structure's name in its specification
   * @throws TsvmError `invalid-disk` when the range is not inside the volume, or the budget is used up
   */
  read(offset: number, length: number, what: string, order: ByteOrder = 'little'): Fields {
    const bytes = new Uint8Array(this.#checked(offset, length, what));
    this.#disk.spend(Math.max(length, 64));
    this.#disk.readInto(this.#start + offset, bytes);
    return new Fields(bytes, (problem) => this.invalid(`${what}: ${problem}`), order);
  }

  /**
   * Reads content of a file, whose amount the reader of the file bounds.
   * @throws TsvmError `invalid-disk` when the range is not inside the volume
   */
  readInto(offset: number, target: Uint8Array, what: string): void {
    this.#checked(offset, target.length, what);
    this.#disk.spend(64);
    this.#disk.readInto(this.#start + offset, target);
  }

  #checked(offset: number, length: number, what: string): number {
    if (isInside(offset, length, this.sizeBytes)) return length;
    throw this.invalid(`${what}: ${length} bytes at ${offset} exceed its ${this.sizeBytes} bytes`);
  }
}

function isInside(offset: number, length: number, sizeBytes: number): boolean {
  const end = offset + length;
  return offset >= 0 && length >= 0 && end <= sizeBytes && Number.isSafeInteger(end);
}
