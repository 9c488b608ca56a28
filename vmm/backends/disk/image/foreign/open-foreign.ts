import type { ImageFile } from '../../file/image-file.ts';
import type { ForeignFormat } from '../format.ts';
import type { ForeignImage } from './foreign-image.ts';
import { openVhdx } from './vhdx.ts';
import { openVmdk } from './vmdk.ts';
import { openVpc } from './vpc.ts';

const OPENERS: Readonly<Record<ForeignFormat, (file: ImageFile) => ForeignImage>> = {
  vmdk: openVmdk,
  vhdx: openVhdx,
  vpc: openVpc,
};

/**
 * Opens an image of another program for reading.
 * @param file open for reading; closed with the image
 * @throws TsvmError `invalid-disk`, `disk-io`
 */
export function openForeignImage(format: ForeignFormat, file: ImageFile): ForeignImage {
  return OPENERS[format](file);
}
