import type { HostFiles } from '../../../host/host-files.ts';
import type { DiskBackend } from './disk.ts';
import type { OpenDiskOptions } from './open-disk-options.ts';
import { openRawDisk, type RawDisk } from './raw-disk.ts';
import { RawOverlayDisk } from './raw-overlay-disk.ts';

/**
 * Opens a disk image for a machine.
 * @throws TsvmError as `openImage` does; `invalid-disk` when it is empty
 */
export async function openDisk(path: string, options: OpenDiskOptions): Promise<DiskBackend> {
  const { format, readOnly, overlay, hostFiles } = options;
  if (format === 'raw') {
    const raw = openRawDisk(path, readOnly || overlay, hostFiles);
    return overlay ? overlaid(raw, hostFiles) : raw;
  }
  // Loaded on demand: a raw disk starts without the many modules of qcow2.
  const { openImageDisk } = await import('./open-image-disk.ts');
  return openImageDisk(path, options);
}

function overlaid(raw: RawDisk, hostFiles: HostFiles): DiskBackend {
  try {
    return new RawOverlayDisk(raw, hostFiles);
  } catch (error) {
    raw.close();
    throw error;
  }
}
