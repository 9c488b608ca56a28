import { TsvmError } from '../../../../errors.ts';
import type { ImageFile } from '../../file/image-file.ts';
import type { ForeignFormat } from '../format.ts';
import type { ImageRun } from '../image.ts';
import { ReadOnlyImage } from '../read-only-image.ts';

/** Largest disk: [MS-VHDX] allows 64 TiB, the others less. */
export const DISK_BYTES_MAX = 64 * 2 ** 40;
/** Bound of the adjoining blocks that are joined to one run, since visiting them takes time. */
const RUN_BLOCKS_MAX = 65_536;

/** The place of a block. */
export type Block =
  | { readonly kind: 'unallocated' | 'zero' }
  /** `offset`: bytes in the file. */
  | { readonly kind: 'data' | 'compressed'; readonly offset: number };

const NOWHERE = { file: undefined, fileOffset: 0, writable: false };

/** An image of another program, read-only: a disk in blocks of one size. */
export abstract class ForeignImage extends ReadOnlyImage {
  abstract override readonly format: ForeignFormat;
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  /** The last inflated block. */
  #inflated: { readonly index: number; readonly bytes: Uint8Array } | undefined;

  /**
   * @param file closed with the image
   * @param sizeBytes a multiple of 512
   * @param blockBytes a power of two, at least 512
   */
  constructor(file: ImageFile, sizeBytes: number, blockBytes: number) {
    super(file);
    this.sizeBytes = sizeBytes;
    this.clusterBytes = blockBytes;
  }

  /**
   * Finds a block of the disk.
   * @throws TsvmError `invalid-disk` for invalid metadata
   */
  protected abstract block(index: number): Block;

  /** A whole compressed block. */
  protected inflate(_index: number, _offset: number): Uint8Array {
    return this.fail('it has a compressed block');
  }

  mapSync(offset: number, length: number): ImageRun {
    this.#checkRange(offset, length);
    const { clusterBytes } = this;
    const first = Math.floor(offset / clusterBytes);
    const into = offset % clusterBytes;
    const block = this.block(first);
    let end = clusterBytes - into;
    for (let count = 1; end < length && count < RUN_BLOCKS_MAX; count++) {
      if (!this.#adjoins(block, count, this.block(first + count))) break;
      end += clusterBytes;
    }
    const run = { kind: block.kind, length: Math.max(1, Math.min(end, length)) };
    if (block.kind !== 'data') return { ...run, ...NOWHERE };
    return { ...run, file: this.file, fileOffset: block.offset + into, writable: false };
  }

  readSync(offset: number, target: Uint8Array): void {
    for (const { run, part, at } of this.#runs(offset, target)) {
      if (run.kind === 'data') this.file.readSync(run.fileOffset, part);
      else if (run.kind === 'compressed') this.#readInflated(at, part);
      else part.fill(0);
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    for (const { run, part, at } of this.#runs(offset, target)) {
      if (run.kind === 'data') await this.file.read(run.fileOffset, part);
      else if (run.kind === 'compressed') this.#readInflated(at, part);
      else part.fill(0);
    }
  }

  close(): void {
    this.file.close();
  }

  /** Refuses the image; the problem follows its name in the message. */
  protected fail(problem: string): never {
    throw invalidImage(this.file, problem);
  }

  /** @throws TsvmError `invalid-disk` when a block is not inside the file */
  protected checkedOffset(offset: number, bytes: number, index: number): number {
    if (offset > 0 && offset + bytes <= this.file.sizeBytes()) return offset;
    return this.fail(`block ${index} lies at ${offset}, and the file ends before its end`);
  }

  /** The part of a block that is inside the disk: the last block may extend past its end. */
  protected blockBytesOnDisk(index: number): number {
    return Math.min(this.clusterBytes, this.sizeBytes - index * this.clusterBytes);
  }

  *#runs(
    offset: number,
    target: Uint8Array,
  ): Generator<{ run: ImageRun; part: Uint8Array; at: number }> {
    for (let done = 0; done < target.length; ) {
      const run = this.mapSync(offset + done, target.length - done);
      yield { run, part: target.subarray(done, done + run.length), at: offset + done };
      done += run.length;
    }
  }

  #readInflated(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const index = Math.floor((offset + done) / this.clusterBytes);
      const into = (offset + done) % this.clusterBytes;
      const part = this.#inflatedBlock(index).subarray(into, into + target.length - done);
      target.set(part, done);
      done += part.length;
    }
  }

  #inflatedBlock(index: number): Uint8Array {
    if (this.#inflated?.index === index) return this.#inflated.bytes;
    const block = this.block(index);
    if (block.kind !== 'compressed') return this.fail(`block ${index} has changed`);
    const bytes = this.inflate(index, block.offset);
    this.#inflated = { index, bytes };
    return bytes;
  }

  #adjoins(first: Block, count: number, next: Block): boolean {
    if (first.kind !== next.kind) return false;
    if (first.kind !== 'data' || next.kind !== 'data') return true;
    return next.offset === first.offset + count * this.clusterBytes;
  }

  #checkRange(offset: number, length: number): void {
    if (offset >= 0 && length >= 0 && offset + length <= this.sizeBytes) return;
    throw new TsvmError(
      'invalid-config',
      `bytes ${offset} to ${offset + length} are outside the disk`,
    );
  }
}

export function invalidImage(file: ImageFile, problem: string): TsvmError {
  return new TsvmError('invalid-disk', `${file.path}: ${problem}`);
}
