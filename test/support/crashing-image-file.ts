import { MemoryImageFile } from './memory-image-file.ts';
import type { Random } from './random.ts';

const SECTOR_BYTES = 512;

type Step =
  | { readonly offset: number; readonly data: Uint8Array }
  | 'sync'
  | { readonly size: number };

/** A file in memory that records which contents it may have after a crash at any moment. */
export class CrashingImageFile extends MemoryImageFile {
  readonly #before: Uint8Array;
  readonly #steps: Step[] = [];

  constructor(content: Uint8Array) {
    super(content);
    this.#before = content.slice();
  }

  /** Number of writes and syncs so far. A crash may come before each of them and after the last. */
  get steps(): number {
    return this.#steps.length;
  }

  override writeSync(offset: number, data: Uint8Array): void {
    super.writeSync(offset, data);
    this.#steps.push({ offset, data: data.slice() });
  }

  override writeZeroesSync(offset: number, length: number, deallocate: boolean): void {
    super.writeZeroesSync(offset, length, deallocate);
    this.#steps.push({ offset, data: new Uint8Array(length) });
  }

  override truncateSync(sizeBytes: number): void {
    super.truncateSync(sizeBytes);
    this.#steps.push({ size: sizeBytes });
  }

  override datasyncSync(): void {
    super.datasyncSync();
    this.#steps.push('sync');
  }

  /**
   * The file after a crash before step `step`: each sector written since the last sync is randomly there
   * or not.
   */
  crashedAt(step: number, random: Random): MemoryImageFile {
    const file = new MemoryImageFile(this.#before);
    const lastSync = this.#steps.lastIndexOf('sync', step - 1);
    for (const [index, done] of this.#steps.slice(0, step).entries()) {
      if (done === 'sync') continue;
      const isDurable = index < lastSync;
      if ('size' in done) {
        if (isDurable || random.chance(0.5)) file.truncateSync(done.size);
        continue;
      }
      for (let at = 0; at < done.data.length; at += SECTOR_BYTES) {
        if (!isDurable && random.chance(0.5)) continue;
        file.writeSync(done.offset + at, done.data.subarray(at, at + SECTOR_BYTES));
      }
    }
    return file;
  }
}
