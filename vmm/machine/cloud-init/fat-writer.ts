/** Writes a FAT12 file system with some files in its root: Microsoft's FAT specification (fatgen103). */

const SECTOR_BYTES = 512;
const RESERVED_SECTORS = 1;
const TABLES = 2;
const ROOT_ENTRIES = 512;
const ENTRY_BYTES = 32;
/** With more clusters it would be FAT16: "FAT Type Determination". */
const CLUSTERS_MAX = 4084;
const CLUSTER_SECTORS_MAX = 64;
const END_OF_CHAIN = 0xfff;
const MEDIA = 0xf8;
const FIRST_CLUSTER = 2;
const ATTRIBUTE_VOLUME_ID = 0x08;
const ATTRIBUTE_LONG_NAME = 0x0f;
const ATTRIBUTE_ARCHIVE = 0x20;
/** 1980-01-01, the first date there is. */
const DATE = (1 << 5) | 1;
const LONG_UNIT_OFFSETS = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const LONG_UNITS = LONG_UNIT_OFFSETS.length;

/** The largest sum of files' sizes that fits, in bytes. */
export const FAT_CONTENT_BYTES_MAX = 64 * 2 ** 20;

/**
 * @param label at most 11 characters, upper case
 * @param serial 32 bits
 * @param files names of at most 255 characters, and contents
 * @throws RangeError when they do not fit
 */
export function writeFat(
  label: string,
  serial: number,
  files: ReadonlyMap<string, Uint8Array>,
): Uint8Array {
  const clusterSectors = chooseClusterSectors([...files.values()]);
  const clusterBytes = clusterSectors * SECTOR_BYTES;
  const clusters = countClusters([...files.values()], clusterBytes);
  const tableSectors = Math.ceil(((clusters + FIRST_CLUSTER) * 12) / 8 / SECTOR_BYTES);
  const rootSector = RESERVED_SECTORS + TABLES * tableSectors;
  const dataSector = rootSector + (ROOT_ENTRIES * ENTRY_BYTES) / SECTOR_BYTES;
  const totalSectors = dataSector + clusters * clusterSectors;
  const image = Buffer.alloc(totalSectors * SECTOR_BYTES);
  writeBootSector(image, { label, serial, clusterSectors, tableSectors, totalSectors });

  const table = new Uint16Array(clusters + FIRST_CLUSTER);
  table.set([0xf00 | MEDIA, END_OF_CHAIN]);
  const root = image.subarray(rootSector * SECTOR_BYTES, dataSector * SECTOR_BYTES);
  const entries = [volumeEntry(label)];
  let cluster = FIRST_CLUSTER;
  for (const [name, content] of files) {
    const count = Math.ceil(content.length / clusterBytes);
    entries.push(...fileEntries(name, entries.length, count === 0 ? 0 : cluster, content.length));
    const place = dataSector * SECTOR_BYTES + (cluster - FIRST_CLUSTER) * clusterBytes;
    image.set(content, place);
    for (let left = count; left > 0; left--, cluster++) {
      table[cluster] = left === 1 ? END_OF_CHAIN : cluster + 1;
    }
  }
  if (entries.length > ROOT_ENTRIES) throw new RangeError('there are too many files');
  for (const [index, entry] of entries.entries()) root.set(entry, index * ENTRY_BYTES);
  const packed = packTable(table);
  for (let copy = 0; copy < TABLES; copy++) {
    image.set(packed, (RESERVED_SECTORS + copy * tableSectors) * SECTOR_BYTES);
  }
  return image;
}

function countClusters(contents: readonly Uint8Array[], clusterBytes: number): number {
  const used = contents.reduce((sum, { length }) => sum + Math.ceil(length / clusterBytes), 0);
  // A file system without a cluster is invalid.
  return Math.max(1, used);
}

function chooseClusterSectors(contents: readonly Uint8Array[]): number {
  for (let sectors = 1; sectors <= CLUSTER_SECTORS_MAX; sectors *= 2) {
    if (countClusters(contents, sectors * SECTOR_BYTES) <= CLUSTERS_MAX) return sectors;
  }
  throw new RangeError('the files are too large');
}

interface Geometry {
  readonly label: string;
  readonly serial: number;
  readonly clusterSectors: number;
  readonly tableSectors: number;
  readonly totalSectors: number;
}

/** "Boot Sector and BPB". */
function writeBootSector(
  image: Buffer,
  { label, serial, clusterSectors, tableSectors, totalSectors }: Geometry,
): void {
  image.set([0xeb, 0x3c, 0x90]);
  image.write('tsvm    ', 3, 'latin1');
  image.writeUInt16LE(SECTOR_BYTES, 11);
  image.writeUInt8(clusterSectors, 13);
  image.writeUInt16LE(RESERVED_SECTORS, 14);
  image.writeUInt8(TABLES, 16);
  image.writeUInt16LE(ROOT_ENTRIES, 17);
  const isShort = totalSectors < 2 ** 16;
  image.writeUInt16LE(isShort ? totalSectors : 0, 19);
  image.writeUInt8(MEDIA, 21);
  image.writeUInt16LE(tableSectors, 22);
  // Sectors of a track and heads, which nothing uses but some tools want.
  image.writeUInt16LE(32, 24);
  image.writeUInt16LE(2, 26);
  image.writeUInt32LE(isShort ? 0 : totalSectors, 32);
  image.writeUInt8(0x80, 36);
  image.writeUInt8(0x29, 38);
  image.writeUInt32LE(serial, 39);
  image.write(label.padEnd(11), 43, 'latin1');
  image.write('FAT12   ', 54, 'latin1');
  image.writeUInt16LE(0xaa55, 510);
}

/** Two entries in three bytes. */
function packTable(table: Uint16Array): Uint8Array {
  const packed = new Uint8Array(Math.ceil((table.length * 12) / 8) + 1);
  for (const [index, value] of table.entries()) {
    const at = Math.floor((index * 12) / 8);
    const [low = 0] = packed.subarray(at);
    if (index % 2 === 0) packed.set([value & 0xff, value >> 8], at);
    else packed.set([low | ((value & 0xf) << 4), value >> 4], at);
  }
  return packed.subarray(0, Math.ceil((table.length * 12) / 8));
}

function volumeEntry(label: string): Uint8Array {
  const entry = Buffer.alloc(ENTRY_BYTES);
  entry.write(label.padEnd(11), 0, 'latin1');
  entry.writeUInt8(ATTRIBUTE_VOLUME_ID, 11);
  entry.writeUInt16LE(DATE, 24);
  return entry;
}

/** "FAT Long Directory Entries": the name in parts, the last one first, then the short entry. */
function fileEntries(
  name: string,
  uniqueNumber: number,
  cluster: number,
  sizeBytes: number,
): Uint8Array[] {
  const short = Buffer.alloc(ENTRY_BYTES);
  short.write(`FILE~${uniqueNumber}`.padEnd(11), 0, 'latin1');
  short.writeUInt8(ATTRIBUTE_ARCHIVE, 11);
  for (const at of [16, 18, 24]) short.writeUInt16LE(DATE, at);
  short.writeUInt16LE(cluster, 26);
  short.writeUInt32LE(sizeBytes, 28);
  const checksum = short
    .subarray(0, 11)
    .reduce((sum, byte) => (((sum & 1) << 7) + (sum >> 1) + byte) & 0xff, 0);
  const parts: Uint8Array[] = [];
  const count = Math.ceil(name.length / LONG_UNITS);
  for (let order = count; order > 0; order--) {
    const isLast = order === count;
    const entry = Buffer.alloc(ENTRY_BYTES);
    entry.writeUInt8(isLast ? order | 0x40 : order);
    entry.writeUInt8(ATTRIBUTE_LONG_NAME, 11);
    entry.writeUInt8(checksum, 13);
    for (const [index, offset] of LONG_UNIT_OFFSETS.entries()) {
      const at = (order - 1) * LONG_UNITS + index;
      // One NUL ends the name, then comes padding.
      const unit = at < name.length ? name.charCodeAt(at) : at === name.length ? 0 : 0xffff;
      entry.writeUInt16LE(unit, offset);
    }
    parts.push(entry);
  }
  return [...parts, short];
}
