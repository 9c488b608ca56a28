import type { HostFiles } from '../../../host/host-files.ts';
import { ScratchFile } from '../file/scratch-file.ts';
import type { DiskImage } from './image.ts';
import { createQcow2 } from './qcow2/create/create.ts';
import { Qcow2Image } from './qcow2/qcow2-image.ts';

/**
 * An overlay of `backing` in a temporary file, which disappears with the process. `backing` is never
 * written.
 * @param backing open, the caller's to close
 * @throws TsvmError `disk-io` when there is no room for temporary files
 */
export function openTemporaryOverlay(backing: DiskImage, hostFiles: HostFiles): Qcow2Image {
  const file = new ScratchFile(hostFiles);
  try {
    createQcow2(file, { sizeBytes: backing.sizeBytes });
    return Qcow2Image.open(file, { readOnly: false, backing });
  } catch (error) {
    file.close();
    throw error;
  }
}
