import { fstatSync, statSync } from 'node:fs';
import type { DiskImage } from '../../backends/disk/image.ts';
import type { ImageFile } from '../../backends/disk/image-file.ts';
import { TsvmError } from '../../errors.ts';

/** Whether two open files are one on the host. */
export function isSameFile(one: ImageFile, other: ImageFile): boolean {
  const [left, right] = [fstatSync(one.fd), fstatSync(other.fd)];
  return left.dev === right.dev && left.ino === right.ino;
}

/** How far down an image's chain the file is that a name leads to; 0 is the image itself. */
export function depthInChain(path: string, image: DiskImage | undefined): number | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  let depth = 0;
  for (let layer = image; layer !== undefined; layer = layer.backing) {
    const { dev, ino } = fstatSync(layer.file.fd);
    if (dev === stats?.dev && ino === stats.ino) return depth;
    depth++;
  }
  return undefined;
}

/**
 * Refuses to write a file that is read from: one of the images, or in the chain of one.
 * @throws TsvmError `invalid-config`
 */
export function refuseFileInUse(path: string, images: readonly DiskImage[]): void {
  for (const image of images) {
    const depth = depthInChain(path, image);
    if (depth === undefined) continue;
    const role = depth === 0 ? 'what is read' : `in the backing chain of ${image.file.path}`;
    throw new TsvmError('invalid-config', `${path} is ${role}: it cannot be written as well`);
  }
}
