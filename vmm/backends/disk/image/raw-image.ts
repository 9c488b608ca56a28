import { TsvmError } from '../../../errors.ts';
import type { ImageFile } from '../file/image-file.ts';
import { SECTOR_BYTES } from '../machine/extent.ts';
import type { DiskImage, ImageRun } from './image.ts';

/** What is good for I/O: a file system has smaller blocks, but long transfers cost less. */
const CLUSTER_BYTES = 64 * 1024;

/**
 * A raw image: the file's bytes are the disk's. When the file's length is no multiple of 512, the
 * last sector reads as if it were padded with zeroes, as it does with QEMU; the first write to it
 * lets the file grow.
 */
export class RawImage implements DiskImage {
  readonly format = 'raw';
  readonly file: ImageFile;
  readonly readOnly: boolean;
  readonly backing = undefined;
  readonly clusterBytes = CLUSTER_BYTES;
  #sizeBytes: number;

  /** @param file is the image's from now on */
  constructor(file: ImageFile) {
    this.file = file;
    this.readOnly = file.readOnly;
    this.#sizeBytes = ceilToSector(file.sizeBytes());
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Holes of the file are `zero`, and lie where their bytes would. */
  mapSync(offset: number, length: number): ImageRun {
    const end = Math.min(offset + length, this.#sizeBytes);
    // A sector that is data in part is data; the file's end may be in one.
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

function floorToSector(bytes: number): number {
  return Math.floor(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

function ceilToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}
