import { openHostFile } from '../file/host-file.ts';
import type { DiskImage } from '../image/image.ts';
import { RawImage } from '../image/raw-image.ts';
import type { ReadDiskOptions } from './open-disk-options.ts';

/**
 * Opens a disk image with its chain, only to read it while `use` runs.
 * @throws TsvmError as `openImage` does
 */
export async function readDisk<T>(
  path: string,
  options: ReadDiskOptions,
  use: (image: DiskImage) => T,
): Promise<T> {
  if (options.format === 'raw') {
    const file = openHostFile(path, options.hostFiles, { readOnly: true });
    try {
      return use(new RawImage(file));
    } finally {
      file.close();
    }
  }
  // The same module as for a disk that is attached, so that it is loaded once and only when needed.
  const { readImageDisk } = await import('./open-image-disk.ts');
  return readImageDisk(path, options, use);
}
