import { TsvmError } from '../../../errors.ts';
import type { HostFiles } from '../../../host/host-files.ts';
import type { DiskImage } from '../image/image.ts';
import { closeImage, openImage } from '../image/open-image.ts';
import { Qcow2Image } from '../image/qcow2/qcow2-image.ts';
import { openTemporaryOverlay } from '../image/temporary-overlay.ts';
import type { DiskBackend } from './disk.ts';
import { ImageDisk } from './image-disk.ts';
import type { OpenDiskOptions, ReadDiskOptions } from './open-disk-options.ts';

/**
 * Opens a qcow2 image for a machine.
 * @throws TsvmError as `openImage` does; `invalid-disk` when it is empty
 */
export function openImageDisk(path: string, options: OpenDiskOptions): DiskBackend {
  const { readOnly, overlay, hostFiles } = options;
  const image = openImage(path, { ...options, readOnly: readOnly || overlay });
  try {
    if (image.sizeBytes === 0) {
      throw new TsvmError('invalid-disk', `${path} is empty: give it a size`);
    }
    if (overlay) return overlayDisk(image, hostFiles);
    if (!(image instanceof Qcow2Image)) throw new Error(`${image.format} has no disk`);
    image.metadata.header.onBitmapsLost = () => {
      options.warn('the guest’s writes have made its bitmaps invalid: they were removed');
    };
    return new ImageDisk(image, { temporary: false, close: () => closeImage(image) });
  } catch (error) {
    closeImage(image);
    throw error;
  }
}

/** The part of `readDisk` for images that are not raw. */
export function readImageDisk<T>(
  path: string,
  options: ReadDiskOptions,
  use: (image: DiskImage) => T,
): T {
  const image = openImage(path, { ...options, readOnly: true });
  try {
    return use(image);
  } finally {
    closeImage(image);
  }
}

function overlayDisk(base: DiskImage, hostFiles: HostFiles): ImageDisk {
  const image = openTemporaryOverlay(base, hostFiles);
  return new ImageDisk(image, {
    temporary: true,
    close: () => {
      // Not image.close(), which would write outstanding metadata.
      image.file.close();
      closeImage(base);
    },
  });
}
