import type { HostFiles } from '../../../host/host-files.ts';
import type { DiskFormat } from '../image/format.ts';
import type { DiskBackend } from './disk.ts';
import { openRawDisk, type RawDisk } from './raw.ts';
import { RawOverlayDisk } from './raw-overlay.ts';

export interface OpenDiskOptions {
  readonly format: DiskFormat;
  readonly readOnly: boolean;
  /** Writes go to a nameless temporary file; the named one stays as it is. */
  readonly overlay: boolean;
  /** Which backing images may be opened; see `openImage`. */
  readonly backing: 'same-folder' | 'allow';
  readonly hostFiles: HostFiles;
  /** Told what the user should know of a disk that goes on working. */
  readonly warn: (message: string) => void;
}

/**
 * Opens a disk image for a machine.
 * @throws TsvmError as `openImage` does; `invalid-disk` when it has no sector
 */
export async function openDisk(path: string, options: OpenDiskOptions): Promise<DiskBackend> {
  const { format, readOnly, overlay, hostFiles } = options;
  if (format === 'raw') {
    const raw = openRawDisk(path, readOnly || overlay, hostFiles);
    return overlay ? overlaid(raw) : raw;
  }
  // Only now: a raw disk starts without the many modules of qcow2.
  const { openImageDisk } = await import('./open-image-disk.ts');
  return openImageDisk(path, options);
}

function overlaid(raw: RawDisk): DiskBackend {
  try {
    return new RawOverlayDisk(raw);
  } catch (error) {
    raw.close();
    throw error;
  }
}
