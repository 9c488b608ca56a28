import type { HostFiles } from '../../../host/host-files.ts';
import { HostFile } from '../file/host-file.ts';
import { openNamelessFile } from '../file/nameless-file.ts';
import type { DiskImage } from './image.ts';
import { createQcow2 } from './qcow2/create/create.ts';
import { Qcow2Image } from './qcow2/qcow2-image.ts';

/**
 * An image whose content is that of `backing` until it is written to, and which goes with the
 * process, however that ends. `backing` is never written.
 * @param backing open, the caller's to close
 * @throws TsvmError `disk-io` when there is no room for temporary files
 */
export function openThrowAwayImage(backing: DiskImage, hostFiles: HostFiles): Qcow2Image {
  const file = new ScratchFile(hostFiles);
  try {
    createQcow2(file, { sizeBytes: backing.sizeBytes });
    return Qcow2Image.open(file, { readOnly: false, backing });
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A file without a name. Nobody finds it after a crash: it is never synced. */
class ScratchFile extends HostFile {
  constructor(hostFiles: HostFiles) {
    const opened = { fd: openNamelessFile(), isBlockDevice: false, sizeBytes: 0 };
    super('the temporary file for writes', opened, false, hostFiles);
  }

  override datasyncSync(): void {}

  override async datasync(): Promise<void> {}
}
