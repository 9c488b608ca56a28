import { dirname } from 'node:path';
import { TsvmError } from '../../../errors.ts';
import type { HostFiles } from '../../../host/host-files.ts';
import { fileIdentity } from '../file/file-identity.ts';
import { type HostFile, openHostFile } from '../file/host-file.ts';
import type { ImageFile } from '../file/image-file.ts';
import { backingFormat, namedFilePath } from './backing-file.ts';
import type { ForeignFormat, ImageFormat } from './format.ts';
import type { DiskImage } from './image.ts';
import { repairImage } from './qcow2/check/repair.ts';
import { parseHeader } from './qcow2/header/header.ts';
import type { Header } from './qcow2/header/header-fields.ts';
import { InflatedBudget } from './qcow2/map/inflated-clusters.ts';
import { Qcow2Image } from './qcow2/qcow2-image.ts';
import { RawImage } from './raw-image.ts';

/** Backing images below an image; libvirt has the same limit. */
export const BACKING_DEPTH_MAX = 200;

/** Bound of a chain's tables that are completely in memory: at most 40 MiB for each image. */
const TABLE_BYTES_MAX = 512 * 2 ** 20;

export interface OpenImageOptions {
  readonly format: ImageFormat;
  readonly readOnly: boolean;
  readonly hostFiles: HostFiles;
  /**
   * Which backing images are opened: those in the image's folder or below it, all, or none, as if
   * the image had none. The same holds for an external data file, which is always opened; with
   * `none` it must be in the image's folder.
   */
  readonly backing: 'same-folder' | 'allow' | 'none';
  /** Depth of a backing image that is opened for writing too, for a commit; 1 is the first. */
  readonly writableDepth?: number;
  /** Open even while another program writes it: the content may be inconsistent. */
  readonly unlocked?: boolean;
  /** Opens images of other programs; refused without it. */
  readonly openForeign?: (format: ForeignFormat, file: ImageFile) => DiskImage;
  /** Memory for tables of each image in the chain; see `Qcow2Image.open`. */
  readonly cacheBytes?: number;
}

/**
 * Opens an image with the chain of its backing images. A writable image that was not closed
 * cleanly, so that its refcounts may be wrong, is repaired first.
 *
 * @returns the image, to be closed by {@link closeImage}
 * @throws TsvmError `file-unreadable`, `disk-locked`; `invalid-disk` for invalid metadata, or a
 * chain that is too long or loops; `file-not-allowed` for a file outside the image's folder
 */
export function openImage(path: string, options: OpenImageOptions): DiskImage {
  return new ChainOpening(path, options).open(path, options.format, options.readOnly, 0);
}

/**
 * Closes an image and its backing images. Closes all even when one fails; throws the first failure.
 */
export function closeImage(image: DiskImage): void {
  try {
    image.close();
  } finally {
    if (image.backing !== undefined) closeImage(image.backing);
  }
}

/** The opening of one chain, from the top down. */
class ChainOpening {
  readonly #options: OpenImageOptions;
  readonly #allowedFolder: string | undefined;
  /** Identities of the open files. */
  readonly #identities = new Set<string>();
  readonly #inflated = new InflatedBudget();
  #tableBytes = 0;

  constructor(path: string, options: OpenImageOptions) {
    this.#options = options;
    this.#allowedFolder = options.backing === 'allow' ? undefined : dirname(path);
  }

  open(path: string, format: ImageFormat, readOnly: boolean, depth: number): DiskImage {
    if (isForeign(format)) return this.#openForeign(path, format, readOnly);
    const file = this.#openFile(path, readOnly);
    try {
      return format === 'raw' ? new RawImage(file) : this.#openQcow2(file, depth);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #openForeign(path: string, format: ForeignFormat, readOnly: boolean): DiskImage {
    const { openForeign } = this.#options;
    if (openForeign === undefined || !readOnly) {
      throw new TsvmError(
        'invalid-disk',
        `${path} is of the format ${format}, which is not supported for a disk that is used or ` +
          `written: convert it with "tsvm image convert -f ${format} -O qcow2 ${path} disk.qcow2"`,
      );
    }
    const file = this.#openFile(path, true);
    try {
      return openForeign(format, file);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #openQcow2(file: HostFile, depth: number): DiskImage {
    const header = this.#soundHeader(file);
    this.#tableBytes +=
      header.l1Entries * 8 + header.refcountTableClusters * 2 ** header.clusterBits;
    if (this.#tableBytes > TABLE_BYTES_MAX) {
      throw new TsvmError('invalid-disk', `${file.path}: the tables of its chain are too large`);
    }
    const backing = this.#openBacking(file, header, depth);
    let dataFile: ImageFile | undefined;
    try {
      dataFile = this.#openDataFile(file, header);
      const { readOnly } = file;
      const { cacheBytes } = this.#options;
      const inflated = this.#inflated;
      return Qcow2Image.open(file, { readOnly, header, backing, dataFile, cacheBytes, inflated });
    } catch (error) {
      dataFile?.close();
      if (backing !== undefined) closeImage(backing);
      throw error;
    }
  }

  #soundHeader(file: HostFile): Header {
    const header = parseHeader(file);
    if (!header.dirty || header.corrupt || file.readOnly) return header;
    const { corruptions, checkErrors } = repairImage(file, 'all');
    if (corruptions === 0 && checkErrors === 0) return parseHeader(file);
    throw new TsvmError(
      'invalid-disk',
      `${file.path} was not closed cleanly and cannot be repaired: see "tsvm image check ${file.path}"`,
    );
  }

  #openBacking(file: HostFile, header: Header, depth: number): DiskImage | undefined {
    const { backingName } = header;
    if (backingName === undefined || this.#options.backing === 'none') return undefined;
    if (depth === BACKING_DEPTH_MAX) {
      throw new TsvmError(
        'invalid-disk',
        `${file.path}: the chain of backing files is longer than ${BACKING_DEPTH_MAX}`,
      );
    }
    const format = backingFormat(header.backingFormat, backingName, file.path);
    const path = namedFilePath('backing file', backingName, file.path, this.#allowedFolder);
    const writable = depth + 1 === this.#options.writableDepth;
    return this.open(path, format, !writable, depth + 1);
  }

  #openDataFile(file: HostFile, { externalDataFile, dataFileName }: Header): ImageFile | undefined {
    if (!externalDataFile || dataFileName === undefined) return undefined;
    const path = namedFilePath('data file', dataFileName, file.path, this.#allowedFolder);
    return this.#openFile(path, file.readOnly);
  }

  #openFile(path: string, readOnly: boolean): HostFile {
    // Checked before opening: the lock conflict would be with ourselves.
    const identity = fileIdentity(path);
    if (identity !== undefined && this.#identities.has(identity)) {
      throw new TsvmError(
        'invalid-disk',
        `${path}: the chain of backing files contains a file twice`,
      );
    }
    const { hostFiles, unlocked = false } = this.#options;
    const file = openHostFile(path, hostFiles, readOnly ? { readOnly, unlocked } : { readOnly });
    if (identity !== undefined) this.#identities.add(identity);
    return file;
  }
}

function isForeign(format: ImageFormat): format is ForeignFormat {
  return format !== 'raw' && format !== 'qcow2';
}
