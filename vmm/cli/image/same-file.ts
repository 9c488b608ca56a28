import { fstatSync, type Stats, statSync } from 'node:fs';
import type { DiskImage } from '../../backends/disk/image.ts';
import { TsvmError } from '../../errors.ts';

/** Whether two names or descriptors lead to one file. */
function isSame(one: Stats, other: Stats): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/**
 * Refuses to write a file that is read from: one of the images, or in the chain of one.
 * @throws TsvmError `invalid-config`
 */
export function refuseFileInUse(path: string, images: readonly DiskImage[]): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  for (const image of images) {
    for (let layer: DiskImage | undefined = image; layer !== undefined; layer = layer.backing) {
      if (!isSame(stats, fstatSync(layer.file.fd))) continue;
      const role = layer === image ? 'what is read' : `in the backing chain of ${image.file.path}`;
      throw new TsvmError('invalid-config', `${path} is ${role}: it cannot be written as well`);
    }
  }
}
