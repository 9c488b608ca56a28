import { dirname, join } from 'node:path';
import { createHostFile } from '../../vmm/backends/disk/file/host-file.ts';
import { closeImage } from '../../vmm/backends/disk/image/open-image.ts';
import { createQcow2 } from '../../vmm/backends/disk/image/qcow2/create/create.ts';
import { preallocate } from '../../vmm/backends/disk/image/qcow2/create/preallocate.ts';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import { hostFiles } from '../../vmm/host/host-files.ts';
import type { ImageOptions } from './image-recipe.ts';
import { openWithChain } from './verdict.ts';

/**
 * Creates an empty image with our engine. `dataName` is the name of its data file, if it has one.
 */
export async function createByEngine(
  path: string,
  options: ImageOptions,
  dataName: string,
  backing: { readonly name: string; readonly format: 'raw' | 'qcow2' } | undefined,
): Promise<void> {
  const file = createHostFile(path, hostFiles());
  const dataFile =
    options.dataFile === 'none'
      ? undefined
      : createHostFile(join(dirname(path), dataName), hostFiles());
  createQcow2(file, {
    sizeBytes: options.sizeBytes,
    version: options.version,
    clusterBytes: 2 ** options.clusterBits,
    refcountBits: options.refcountBits,
    lazyRefcounts: options.lazyRefcounts,
    extendedL2: options.extendedL2,
    compressionType: options.compression,
    backing,
    dataFile: dataFile && { file: dataFile, name: dataName, raw: options.dataFile === 'raw' },
  });
  file.close();
  dataFile?.close();
  // Only QEMU preallocates images with a backing file, with extended L2 entries.
  if (backing === undefined) await preallocateAll(path, options);
}

async function preallocateAll(path: string, { preallocation }: ImageOptions): Promise<void> {
  const image = openWithChain(path, { readOnly: false });
  try {
    if (!(image instanceof Qcow2Image)) throw new Error(`${path} is no qcow2 image`);
    await preallocate(image, preallocation);
  } finally {
    closeImage(image);
  }
}
