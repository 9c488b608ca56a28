import { dirname, isAbsolute, join } from 'node:path';
import { assertDeviceHolds } from '../../backends/disk/device-size.ts';
import type { DiskFormat } from '../../backends/disk/format.ts';
import type { HostFiles } from '../../backends/disk/host-file.ts';
import type { DiskImage } from '../../backends/disk/image.ts';
import { createPreallocated } from '../../backends/disk/qcow2/preallocate.ts';
import { Qcow2Image } from '../../backends/disk/qcow2/qcow2-image.ts';
import { RawImage } from '../../backends/disk/raw-image.ts';
import { preallocateRaw } from '../../backends/disk/tools/preallocate-raw.ts';
import { TsvmError } from '../../errors.ts';
import type { CreationOptions } from './creation-options.ts';
import { NewFile } from './new-file.ts';

/** Image formats have their signatures in the first sector. */
const SIGNATURE_BYTES = 512;

/** What a new image is to be: all that the options did not say has been decided. */
export interface NewImagePlan {
  readonly path: string;
  readonly format: DiskFormat;
  readonly sizeBytes: number;
  readonly options: CreationOptions;
  /** As the image's header is to name it. */
  readonly backing: { readonly name: string; readonly format: DiskFormat } | undefined;
}

/** An image that appears when it is finished. */
export class NewImage {
  readonly #plan: NewImagePlan;
  readonly #hostFiles: HostFiles;
  readonly #file: NewFile;
  readonly #dataFile: NewFile | undefined;

  /** @throws TsvmError when a file cannot be made */
  constructor(plan: NewImagePlan, hostFiles: HostFiles) {
    this.#plan = plan;
    this.#hostFiles = hostFiles;
    this.#file = new NewFile(plan.path, hostFiles);
    try {
      this.#dataFile = this.#newDataFile();
    } catch (error) {
      this.#file.vanish();
      throw error;
    }
  }

  /** It reads as zeroes from the start: qcow2 does so on whatever it lies. */
  get isZero(): boolean {
    const { format, options } = this.#plan;
    return format === 'qcow2' || !this.#file.inPlace || options.preallocation === 'full';
  }

  /** Paths of what is overwritten in place, since it is no file that could be replaced. */
  get writtenInPlace(): string[] {
    return [this.#file, this.#dataFile]
      .filter((file) => file?.inPlace)
      .map((file) => file?.file.path ?? '');
  }

  /** Writes the empty image. */
  async write(signal: AbortSignal): Promise<void> {
    const { format, options, sizeBytes, backing } = this.#plan;
    const { file } = this.#file;
    const { preallocation = 'off' } = options;
    if (format === 'raw') {
      assertDeviceHolds(file, sizeBytes);
      if (!file.isBlockDevice) file.truncateSync(sizeBytes);
      // What is there must not be taken for the image of another format, as QEMU sees to as well.
      else file.writeZeroesSync(0, Math.min(SIGNATURE_BYTES, sizeBytes), true);
      return preallocateRaw(file, preallocation, 0, sizeBytes, signal);
    }
    const { dataFile: name, rawDataFile: raw = false } = options;
    const dataFile =
      this.#dataFile === undefined || name === undefined
        ? undefined
        : { file: this.#dataFile.file, name, raw };
    await createPreallocated(
      file,
      { ...options, sizeBytes, backing, dataFile },
      preallocation,
      signal,
    );
  }

  /**
   * Opens what {@link write} has written.
   * @param backing what the header names, open; stays the caller's
   */
  open(backing: DiskImage | undefined): DiskImage {
    const { file } = this.#file;
    if (this.#plan.format === 'raw') return new RawImage(file);
    return Qcow2Image.open(file, { readOnly: false, backing, dataFile: this.#dataFile?.file });
  }

  /** Closes the files, if {@link open} was not called: an open image closes its own. */
  closeFiles(): void {
    this.#file.file.close();
    this.#dataFile?.file.close();
  }

  /** Everything is written and closed. */
  async appear(durable: boolean): Promise<void> {
    await this.#dataFile?.appear(durable);
    await this.#file.appear(durable);
  }

  /** Nothing of it is left. */
  vanish(): void {
    this.#file.vanish();
    this.#dataFile?.vanish();
  }

  #newDataFile(): NewFile | undefined {
    const { path, options } = this.#plan;
    const { dataFile: name, rawDataFile } = options;
    if (name !== undefined) {
      return new NewFile(isAbsolute(name) ? name : join(dirname(path), name), this.#hostFiles);
    }
    if (rawDataFile !== true) return undefined;
    throw new TsvmError('invalid-config', 'data_file_raw=on needs a data_file');
  }
}
