import { TsvmError } from '../../../../errors.ts';
import type { DiskImage } from '../image.ts';
import { convertImage } from './convert.ts';
import type { WorkControl } from './work-control.ts';

export interface CommitOptions extends WorkControl {
  /** Chunks read concurrently. */
  readonly parallel: number;
}

/**
 * Writes the content of an image, and of the layers between it and `base`, into `base`, which then
 * reads like the image and is durable. The image is not changed.
 *
 * @param base a layer of the image's chain, open for writing; it grows to the image's size
 * @throws TsvmError `invalid-config` when the base is not in the image's chain, `invalid-disk`,
 * `disk-io`; the signal's reason when aborted: the base is then consistent, and the commit can be
 * repeated
 */
export async function commitImage(
  image: DiskImage,
  base: DiskImage,
  options: CommitOptions,
): Promise<void> {
  if (!isBelow(image, base)) {
    throw new TsvmError(
      'invalid-config',
      `${base.file.path} is not in the backing chain of ${image.file.path}`,
    );
  }
  if (base.sizeBytes < image.sizeBytes) base.resizeSync(image.sizeBytes);
  try {
    await convertImage([image], base, {
      ...options,
      sparseBytes: 0,
      copyHoles: false,
      targetIsZero: false,
      leaveUnallocated: true,
      base,
    });
  } finally {
    await base.flush();
  }
}

function isBelow(image: DiskImage, base: DiskImage): boolean {
  for (let layer = image.backing; layer !== undefined; layer = layer.backing) {
    if (layer === base) return true;
  }
  return false;
}
