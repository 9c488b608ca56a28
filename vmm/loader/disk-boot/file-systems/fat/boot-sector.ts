/** FAT12, FAT16 and FAT32: Microsoft's FAT specification (fatgen103), "Boot Sector and BPB". */
import type { Volume } from '../../disk-source.ts';

const BOOT_SECTOR_BYTES = 512;
const SIGNATURE = 0xaa55;
const SECTOR_SIZES = [512, 1024, 2048, 4096];
const DIRECTORY_ENTRY_BYTES = 32;
/** Clusters below which it is FAT12, FAT16. */
const FAT12_CLUSTERS = 4085;
const FAT16_CLUSTERS = 65525;
const CLUSTER_BYTES_MAX = 256 * 1024;

export interface FatGeometry {
  readonly bits: 12 | 16 | 32;
  readonly clusterBytes: number;
  /** Clusters are numbered from 2. */
  readonly clusters: number;
  /** The first copy of the table of clusters, in bytes. */
  readonly tableOffset: number;
  /** Where cluster 2 is, in bytes. */
  readonly dataOffset: number;
  /** FAT12 and FAT16: the root directory's place. */
  readonly rootOffset: number;
  readonly rootBytes: number;
  /** FAT32: its first cluster. */
  readonly rootCluster: number;
  readonly uuid: string;
  readonly label: string;
}

export function isFat(volume: Volume): boolean {
  if (volume.sizeBytes < BOOT_SECTOR_BYTES) return false;
  const sector = volume.read(0, BOOT_SECTOR_BYTES, 'boot sector');
  const jump = sector.u8(0);
  if (sector.u16(0x1fe) !== SIGNATURE || (jump !== 0xeb && jump !== 0xe9)) return false;
  const clusterSectors = sector.u8(13);
  return (
    SECTOR_SIZES.includes(sector.u16(11)) &&
    clusterSectors > 0 &&
    (clusterSectors & (clusterSectors - 1)) === 0 &&
    sector.u16(14) > 0 &&
    sector.u8(16) > 0 &&
    (sector.u8(21) >= 0xf8 || sector.u8(21) === 0xf0)
  );
}

/** @throws TsvmError `invalid-disk` for sizes that lie; call it where {@link isFat} */
export function readGeometry(volume: Volume): FatGeometry {
  const sector = volume.read(0, BOOT_SECTOR_BYTES, 'FAT boot sector');
  const sectorBytes = sector.u16(11);
  const clusterBytes = sector.u8(13) * sectorBytes;
  if (clusterBytes > CLUSTER_BYTES_MAX) throw sector.invalid(`clusters of ${clusterBytes} bytes`);
  const tableSectors = sector.u16(22) || sector.u32(36);
  const rootBytes = sector.u16(17) * DIRECTORY_ENTRY_BYTES;
  const totalSectors = sector.u16(19) || sector.u32(32);
  const rootSector = sector.u16(14) + sector.u8(16) * tableSectors;
  const dataSector = rootSector + Math.ceil(rootBytes / sectorBytes);
  const clusters = Math.floor(((totalSectors - dataSector) * sectorBytes) / clusterBytes);
  if (clusters < 1 || dataSector * sectorBytes > volume.sizeBytes) {
    throw sector.invalid('it has no room for clusters');
  }
  const is32 = sector.u16(22) === 0;
  const bits = is32 ? 32 : clusters < FAT12_CLUSTERS ? 12 : 16;
  if (bits === 16 && clusters >= FAT16_CLUSTERS) throw sector.invalid(`${clusters} clusters`);
  if ((clusters + 2) * bits > tableSectors * sectorBytes * 8) {
    throw sector.invalid('its table is smaller than its clusters need');
  }
  const identity = is32 ? 67 : 39;
  const serial = sector.u32(identity).toString(16).toUpperCase().padStart(8, '0');
  return {
    bits,
    clusterBytes,
    clusters,
    tableOffset: sector.u16(14) * sectorBytes,
    dataOffset: dataSector * sectorBytes,
    rootOffset: rootSector * sectorBytes,
    rootBytes,
    rootCluster: is32 ? sector.u32(44) : 0,
    uuid: `${serial.slice(0, 4)}-${serial.slice(4)}`,
    label: sector.text(identity + 4, 11).trimEnd(),
  };
}
