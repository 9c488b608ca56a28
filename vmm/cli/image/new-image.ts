import { execFileSync } from 'node:child_process';
import { statfsSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { assertDeviceHolds } from '../../backends/disk/file/device-size.ts';
import { fileIdentity } from '../../backends/disk/file/file-identity.ts';
import type { ImageFile } from '../../backends/disk/file/image-file.ts';
import { SECTOR_BYTES } from '../../backends/disk/file/sector.ts';
import type { DiskFormat, ImageFormat } from '../../backends/disk/image/format.ts';
import type { DiskImage } from '../../backends/disk/image/image.ts';
import { parseImageName } from '../../backends/disk/image/image-name.ts';
import { createPreallocated } from '../../backends/disk/image/qcow2/create/preallocate.ts';
import { Qcow2Image } from '../../backends/disk/image/qcow2/qcow2-image.ts';
import { RawImage } from '../../backends/disk/image/raw-image.ts';
import { preallocateRaw } from '../../backends/disk/image/tools/preallocate-raw.ts';
import { TsvmError } from '../../errors.ts';
import type { HostFiles } from '../../host/host-files.ts';
import { printMessage } from '../standard-streams.ts';
import type { CreationOptions } from './creation-options.ts';
import { NewFile } from './new-file.ts';
import { refuseFileInUse } from './same-file.ts';

/** statfs(2). */
const BTRFS_SUPER_MAGIC = 0x9123683e;

/** Image formats have their signatures in the first sector. */
const SIGNATURE_BYTES = 512;

/** The plan of a new image, with all defaults filled in. */
export interface NewImagePlan {
  readonly path: string;
  readonly format: DiskFormat;
  readonly sizeBytes: number;
  readonly options: CreationOptions;
  /** As stored in the image's header. */
  readonly backing: { readonly name: string; readonly format: ImageFormat } | undefined;
}

/** An image that appears when it is complete. */
export class NewImage {
  readonly #plan: NewImagePlan;
  readonly #hostFiles: HostFiles;
  readonly #file: NewFile;
  readonly #dataFile: NewFile | undefined;

  /**
   * @param reads images that the command reads, which are never overwritten
   * @throws TsvmError when a file cannot be created or is one of those
   */
  constructor(plan: NewImagePlan, reads: readonly DiskImage[], hostFiles: HostFiles) {
    this.#plan = plan;
    this.#hostFiles = hostFiles;
    const dataPath = dataFilePath(plan);
    for (const path of [plan.path, dataPath]) {
      if (path !== undefined) refuseFileInUse(path, reads);
    }
    if (dataPath !== undefined && isSamePath(dataPath, plan.path)) {
      throw new TsvmError('invalid-config', `${plan.path} cannot be its own data file`);
    }
    this.#file = new NewFile(plan.path, hostFiles);
    try {
      this.#dataFile = dataPath === undefined ? undefined : new NewFile(dataPath, this.#hostFiles);
    } catch (error) {
      this.#file.vanish();
      throw error;
    }
  }

  /** It reads as zeroes from the start: qcow2 always does, whatever its file contained. */
  get isZero(): boolean {
    const { format, options } = this.#plan;
    return format === 'qcow2' || !this.#file.file.isBlockDevice || options.preallocation === 'full';
  }

  /** Paths of files that are overwritten in place. */
  get writtenInPlace(): string[] {
    return [this.#file, this.#dataFile]
      .filter((file) => file?.inPlace)
      .map((file) => file?.file.path ?? '');
  }

  /** Writes the empty image. */
  async write(signal: AbortSignal): Promise<void> {
    const { format, options, backing } = this.#plan;
    // Other programs use a raw file's length, so it is made a whole number of sectors.
    const sizeBytes = Math.ceil(this.#plan.sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
    const { file } = this.#file;
    this.#file.begin();
    this.#dataFile?.begin();
    if (options.noCow === true) {
      for (const part of [file, this.#dataFile?.file]) if (part !== undefined) disableCow(part);
    }
    const { preallocation = 'off' } = options;
    if (format === 'raw') {
      assertDeviceHolds(file, sizeBytes);
      if (!file.isBlockDevice) file.truncateSync(sizeBytes);
      // Old content must not be taken for an image of another format; QEMU does the same.
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
   * @param backing what the header refers to, open; the caller's to close
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

  /** Completes the image. Everything is written and closed. */
  async appear(durable: boolean): Promise<void> {
    await this.#dataFile?.appear(durable);
    await this.#file.appear(durable);
  }

  /** Removes everything. */
  vanish(): void {
    this.#file.vanish();
    this.#dataFile?.vanish();
  }
}

function dataFilePath({ path, options }: NewImagePlan): string | undefined {
  const { dataFile: name, rawDataFile } = options;
  if (name !== undefined) {
    const file = parseImageName(name)?.path ?? name;
    return isAbsolute(file) ? file : join(dirname(path), file);
  }
  if (rawDataFile !== true) return undefined;
  throw new TsvmError('invalid-config', 'data_file_raw=on needs a data_file');
}

/** The file may not exist. */
function isSamePath(one: string, other: string): boolean {
  const identity = fileIdentity(one);
  return identity === undefined
    ? resolve(one) === resolve(other)
    : identity === fileIdentity(other);
}

/**
 * Turns off copy-on-write of an empty file on btrfs; as in QEMU it is not an error where that is
 * impossible.
 */
function disableCow({ fd, isBlockDevice, path }: ImageFile): void {
  if (isBlockDevice || statfsSync(`/proc/self/fd/${fd}`).type !== BTRFS_SUPER_MAGIC) return;
  try {
    execFileSync('chattr', ['+C', '--', path], { stdio: 'ignore' });
  } catch {}
}

/** Warns of something unexpected: the old content is gone before the new one is complete. */
export function sayInPlace(verb: string, path: string, quiet: boolean): void {
  if (!quiet) printMessage(`tsvm image ${verb}: ${path} is written in place\n`);
}
