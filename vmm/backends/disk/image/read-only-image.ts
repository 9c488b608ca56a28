import { TsvmError } from '../../../errors.ts';
import type { ImageFile } from '../file/image-file.ts';
import type { ImageFormat } from './format.ts';
import type { DiskImage, ImageRun } from './image.ts';

/** The base of read-only images: every change is refused. */
export abstract class ReadOnlyImage implements DiskImage {
  abstract readonly format: ImageFormat;
  abstract readonly sizeBytes: number;
  abstract readonly clusterBytes: number;
  readonly file: ImageFile;
  readonly readOnly = true;
  readonly backing = undefined;

  constructor(file: ImageFile) {
    this.file = file;
  }

  abstract mapSync(offset: number, length: number): ImageRun;
  abstract readSync(offset: number, target: Uint8Array): void;
  abstract read(offset: number, target: Uint8Array): Promise<void>;
  abstract close(): void;

  writeSync(): void {
    this.#refuse();
  }

  async write(): Promise<void> {
    this.#refuse();
  }

  writeZeroesSync(): void {
    this.#refuse();
  }

  discardSync(): void {
    this.#refuse();
  }

  resizeSync(): void {
    this.#refuse();
  }

  flushSync(): void {}

  async flush(): Promise<void> {}

  #refuse(): never {
    throw new TsvmError('wrong-state', `${this.file.path} was opened read-only`);
  }
}
