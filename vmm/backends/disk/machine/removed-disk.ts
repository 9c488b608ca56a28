import type { DiskBackend } from './disk.ts';

/** In place of a disk that was taken away while its guest still uses it: every request fails. */
export class RemovedDisk implements DiskBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly scripted = { flush: true, discard: true, writeZeroes: true };

  constructor({ sizeBytes, readOnly }: Pick<DiskBackend, 'sizeBytes' | 'readOnly'>) {
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
  }

  attach(): void {}

  async resolve(): Promise<void> {
    throw new Error('the disk was taken away');
  }

  close(): void {}
}
