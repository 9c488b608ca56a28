import { TsvmError } from '../../../errors.ts';
import type { ImageFile } from './image-file.ts';

/**
 * Checks that a block device is large enough; a file grows as needed.
 * @throws TsvmError `disk-io` when the file is a block device with less than `bytes`
 */
export function assertDeviceHolds(file: ImageFile, bytes: number): void {
  if (!file.isBlockDevice || file.sizeBytes() >= bytes) return;
  throw new TsvmError(
    'disk-io',
    `the block device ${file.path} has ${file.sizeBytes()} bytes, and ${bytes} are needed: ` +
      'use a larger one',
  );
}
