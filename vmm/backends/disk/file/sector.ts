/** The unit in which a guest sees a disk, in bytes: virtio 1.2, section 5.2. */
export const SECTOR_BYTES = 512;

export function floorToSector(bytes: number): number {
  return Math.floor(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}

export function ceilToSector(bytes: number): number {
  return Math.ceil(bytes / SECTOR_BYTES) * SECTOR_BYTES;
}
