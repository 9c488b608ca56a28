/** What `info` shows about an image, under the keys of qemu-img's JSON (QAPI's ImageInfo). */
import { fstatSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import { openHostFile } from '../../backends/disk/file/host-file.ts';
import type { ImageFile } from '../../backends/disk/file/image-file.ts';
import { backingFormat, namedFilePath } from '../../backends/disk/image/backing-file.ts';
import type { ForeignImage } from '../../backends/disk/image/foreign/foreign-image.ts';
import { openForeignImage } from '../../backends/disk/image/foreign/open-foreign.ts';
import { type VmdkDescriptor, VmdkImage } from '../../backends/disk/image/foreign/vmdk.ts';
import { VpcImage } from '../../backends/disk/image/foreign/vpc.ts';
import {
  formatOfName,
  type ImageFormat,
  imageFormat,
  isImageFormat,
} from '../../backends/disk/image/format.ts';
import { BACKING_DEPTH_MAX } from '../../backends/disk/image/open-image.ts';
import {
  type Bitmap,
  readBitmapDirectory,
} from '../../backends/disk/image/qcow2/bitmap/bitmap-tables.ts';
import { parseHeader } from '../../backends/disk/image/qcow2/header/header.ts';
import type { Header } from '../../backends/disk/image/qcow2/header/header-fields.ts';
import {
  readSnapshotTable,
  type SnapshotInfo,
} from '../../backends/disk/image/qcow2/snapshot/snapshot-table.ts';
import { signatureOf } from '../../backends/disk/image/signatures.ts';
import { TsvmError } from '../../errors.ts';
import { hostFiles } from '../../host/host-files.ts';
import type { BackingPolicy } from './option-values.ts';

export interface ImageInfo {
  readonly filename: string;
  readonly format: ImageFormat;
  readonly virtualBytes: number;
  /** Space that the file occupies on the host. */
  readonly actualBytes: number;
  /** The unit of allocation, in bytes; undefined where there is none. */
  readonly clusterBytes: number | undefined;
  /** Only of vmdk images. */
  readonly vmdk: VmdkInfo | undefined;
  /** The rest is only of qcow2 images. */
  readonly header: Header | undefined;
  /** Path of the backing file from here; it may not exist. */
  readonly backingPath: string | undefined;
  readonly snapshots: readonly SnapshotInfo[];
  readonly bitmaps: readonly Bitmap[];
}

export interface VmdkInfo extends VmdkDescriptor {
  readonly isCompressed: boolean;
}

export interface ImageInfoOptions {
  readonly format: string | undefined;
  readonly unlocked: boolean;
}

/**
 * Reads an image's header, and opens no file that it names.
 * @throws TsvmError `file-unreadable`, `disk-locked`, `invalid-disk`
 */
export function readImageInfo(path: string, options: ImageInfoOptions): ImageInfo {
  const format = shownFormat(path, options.format);
  const file = openHostFile(path, hostFiles(), { readOnly: true, unlocked: options.unlocked });
  try {
    const actualBytes = fstatSync(file.fd).blocks * 512;
    const common = { filename: path, format, actualBytes };
    if (format === 'raw') return { ...common, ...plainInfo(rawBytes(file)) };
    if (format !== 'qcow2') return { ...common, ...foreignInfo(openForeignImage(format, file)) };
    const header = parseHeader(file);
    return {
      ...common,
      header,
      clusterBytes: 2 ** header.clusterBits,
      vmdk: undefined,
      virtualBytes: header.sizeBytes,
      backingPath: backingPath(path, header),
      snapshots: readSnapshotTable(file, header, header.version).snapshots,
      bitmaps: readBitmaps(file, header),
    };
  } finally {
    file.close();
  }
}

function rawBytes(file: ImageFile): number {
  return Math.ceil(file.sizeBytes() / 512) * 512;
}

/** The common part of formats without a header to show. */
function plainInfo(virtualBytes: number) {
  return {
    virtualBytes,
    clusterBytes: undefined,
    vmdk: undefined,
    header: undefined,
    backingPath: undefined,
    snapshots: [],
    bitmaps: [],
  };
}

function foreignInfo(image: ForeignImage) {
  const { clusterBytes, sizeBytes } = image;
  const common = { ...plainInfo(sizeBytes), clusterBytes };
  if (image instanceof VpcImage && image.isFixed) return plainInfo(sizeBytes);
  if (!(image instanceof VmdkImage)) return common;
  const { descriptor, isCompressed } = image;
  return { ...common, vmdk: { ...descriptor, isCompressed } };
}

function readBitmaps(file: ImageFile, { bitmaps, clusterBits, sizeBytes }: Header): Bitmap[] {
  if (bitmaps === undefined) return [];
  const found = readBitmapDirectory(file, bitmaps, { clusterBytes: 2 ** clusterBits, sizeBytes });
  if (typeof found !== 'string') return found;
  throw new TsvmError(
    'invalid-disk',
    `${file.path}: the bitmap directory is damaged: ${found}; see "tsvm image check ${file.path}"`,
  );
}

/**
 * Infos of an image and its backing images, from the top down.
 * @throws TsvmError also when the chain loops, is too long, or leads to a file that may not be
 * opened
 */
export function readChainInfo(
  path: string,
  options: ImageInfoOptions,
  backing: BackingPolicy,
): ImageInfo[] {
  const allowedFolder = backing === 'allow' ? undefined : dirname(path);
  const infos = [readImageInfo(path, options)];
  for (let last = infos[0]; last?.header?.backingName !== undefined; last = infos.at(-1)) {
    const { backingName, backingFormat: format } = last.header;
    if (infos.length > BACKING_DEPTH_MAX) {
      throw new TsvmError(
        'invalid-disk',
        `${path}: the chain of backing files is too long, or loops`,
      );
    }
    infos.push(
      readImageInfo(namedFilePath('backing file', backingName, last.filename, allowedFolder), {
        ...options,
        format: backingFormat(format, backingName, last.filename),
      }),
    );
  }
  return infos;
}

/**
 * The format to show when none is given. A name that implies raw may be wrong, and this verb should
 * reveal that; the image is not opened as a disk, so its signature may be trusted.
 */
function shownFormat(path: string, given: string | undefined): ImageFormat {
  const found = given === undefined ? signatureOf(path) : undefined;
  const isShown = found !== undefined && isImageFormat(found);
  return imageFormat(path, isShown ? (formatOfName(path) ?? found) : given, (word) => `-f ${word}`);
}

function backingPath(path: string, { backingName }: Header): string | undefined {
  if (backingName === undefined || isAbsolute(backingName) || /^[^/]*:/.test(backingName)) {
    return backingName;
  }
  return path.slice(0, path.lastIndexOf('/') + 1) + backingName;
}
