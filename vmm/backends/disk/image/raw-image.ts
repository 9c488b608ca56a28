import { TsvmError } from '../../../errors.ts';
import type { ImageFile } from '../file/image-file.ts';
import { ceilToSector, floorToSector } from '../file/sector.ts';
import type { DiskImage, ImageRun } from './image.ts';

/** A good I/O size: the blocks of file systems are smaller, but long transfers cost less. */
const CLUSTER_BYTES = 64 * 1024;

/**
 * A raw image: the file's bytes are the disk's. When the file's length is not a multiple of 512, the
 * last sector reads as if padded with zeroes, as in QEMU; the first write to it extends the file.
 */
export class RawImage implements DiskImage {
  readonly format = 'raw';
  readonly file: ImageFile;
  readonly readOnly: boolean;
  readonly backing = undefined;
  readonly clusterBytes = CLUSTER_BYTES;
  #sizeBytes: number;

  /** @param file closed with the image */
  constructor(file: ImageFile) {
    this.file = file;
    this.readOnly = file.readOnly;
    this.#sizeBytes = ceilToSector(file.sizeBytes());
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Holes of the file are `zero` runs that have a place in it. */
  mapSync(offset: number, length: number): ImageRun {
    const end = Math.min(offset + length, this.#sizeBytes);
    // A sector that is partly data is data; the file may end inside one.
    const nextData = this.file.nextDataSync(offset);
    const dataAt = nextData >= this.file.sizeBytes() ? end : floorToSector(nextData);
    const isData = dataAt <= offset;
    const stop = isData ? ceilToSector(this.file.nextHoleSync(nextData)) : dataAt;
    return {
      kind: isData ? 'data' : 'zero',
      length: Math.max(1, Math.min(stop, end) - offset),
      file: this.file,
      fileOffset: offset,
      writable: isData && !this.readOnly,
    };
  }

  readSync(offset: number, target: Uint8Array): void {
    this.file.readSync(offset, target);
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.file.read(offset, target);
  }

  writeSync(offset: number, data: Uint8Array): void {
    this.file.writeSync(offset, data);
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    return this.file.write(offset, data);
  }

  writeZeroesSync(offset: number, length: number, mayUnmap: boolean): void {
    this.file.writeZeroesSync(offset, length, mayUnmap);
  }

  discardSync(offset: number, length: number): void {
    this.file.writeZeroesSync(offset, length, true);
  }

  resizeSync(sizeBytes: number): void {
    if (this.file.isBlockDevice) {
      if (sizeBytes === this.#sizeBytes) return;
      throw new TsvmError(
        'invalid-config',
        `${this.file.path} is a block device: resize the device itself`,
      );
    }
    this.file.truncateSync(sizeBytes);
    this.#sizeBytes = ceilToSector(sizeBytes);
  }

  flushSync(): void {
    if (!this.readOnly) this.file.datasyncSync();
  }

  async flush(): Promise<void> {
    if (!this.readOnly) await this.file.datasync();
  }

  close(): void {
    this.file.close();
  }
}
