import type { Disk, DiskBackend } from '../backends/disk/machine/disk.ts';
import { loadAddon } from '../host/addon.ts';

/**
 * Creates the data plane of a disk and attaches the backend, which pushes its initial extents.
 * `closeDisk` closes it.
 * @param onScriptRequests called on the JavaScript thread, once per batch
 */
export function attachNativeDisk(backend: DiskBackend, onScriptRequests: () => void): Disk {
  const { NativeDisk } = loadAddon();
  const { sizeBytes, readOnly, scripted } = backend;
  const disk = new NativeDisk({ sizeBytes, readOnly, scripted, onScriptRequests });
  try {
    backend.attach(disk);
    return disk;
  } catch (error) {
    disk.close();
    throw error;
  }
}
