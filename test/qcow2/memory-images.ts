/** Images in memory, created and opened by our engine alone. */
import type { ImageFile } from '../../vmm/backends/disk/file/image-file.ts';
import { createQcow2 } from '../../vmm/backends/disk/image/qcow2/create/create.ts';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { RawImage } from '../../vmm/backends/disk/image/raw-image.ts';
import { MemoryImageFile } from '../support/memory-image-file.ts';
import type { ImageOptions } from './image-recipe.ts';

/** Names in headers; for QEMU, files with these names are put in one folder. */
export const CRASHED_DATA_NAME = 'crashed.data';
export const CRASHED_BACKING_NAME = 'crashed.raw';

/** Creates an empty image. `files`: empty files, its own and then its data file if it has one. */
export function createInMemory(
  files: readonly ImageFile[],
  options: ImageOptions,
  hasBacking: boolean,
): void {
  const [file, dataFile] = files;
  if (file === undefined) throw new Error('an image needs a file');
  createQcow2(file, {
    sizeBytes: options.sizeBytes,
    version: options.version,
    clusterBytes: 2 ** options.clusterBits,
    refcountBits: options.refcountBits,
    lazyRefcounts: options.lazyRefcounts,
    extendedL2: options.extendedL2,
    compressionType: options.compression,
    backing: hasBacking ? { name: CRASHED_BACKING_NAME, format: 'raw' } : undefined,
    dataFile: dataFile && {
      file: dataFile,
      name: CRASHED_DATA_NAME,
      raw: options.dataFile === 'raw',
    },
  });
}

/** @param backing the content of the raw backing image; empty when there is none */
export function openInMemory(
  [file, dataFile]: readonly ImageFile[],
  backing: Uint8Array,
  readOnly: boolean,
): Qcow2Image {
  if (file === undefined) throw new Error('an image needs a file');
  const below = backing.length > 0 ? new RawImage(new MemoryImageFile(backing)) : undefined;
  return Qcow2Image.open(file, { readOnly, backing: below, dataFile });
}
