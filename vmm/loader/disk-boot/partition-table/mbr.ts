/** The classic partition table of PCs, with logical partitions: UEFI 2.10, section 5.2. */
import { TsvmError } from '../../../errors.ts';
import { type DiskReader, Volume } from '../disk-source.ts';
import type { Fields } from '../fields.ts';
import type { Partition, PartitionTable } from './partition.ts';

const SECTOR_BYTES = 512;
const SIGNATURE_OFFSET = 0x1fe;
const SIGNATURE = 0xaa55;
const DISK_ID_OFFSET = 0x1b8;
const ENTRIES_OFFSET = 0x1be;
const ENTRY_BYTES = 16;
const TYPE_ESP = 0xef;
const TYPE_XBOOTLDR = 0xea;
/** Extended: with CHS addresses, with LBA, and Linux's own. */
const TYPES_EXTENDED = [0x05, 0x0f, 0x85];
const FIRST_LOGICAL = 5;
/** Linux stops at 256 partitions of a disk. */
const LOGICAL_MAX = 256;

interface Entry {
  readonly type: number;
  readonly firstSector: number;
  readonly sectors: number;
}

/** Undefined when the disk has none: a boot sector of FAT has the same signature. */
export function readMbr(disk: DiskReader): PartitionTable | undefined {
  const whole = new Volume(disk, 'the partition table (MBR)', 0, disk.sizeBytes);
  if (disk.sizeBytes < SECTOR_BYTES) return undefined;
  const sector = whole.read(0, SECTOR_BYTES, 'boot sector');
  if (sector.u16(SIGNATURE_OFFSET) !== SIGNATURE || !looksLikeTable(sector, disk)) return undefined;
  const diskId = sector.u32(DISK_ID_OFFSET).toString(16).padStart(8, '0');
  const partitions: Partition[] = [];
  const problems: string[] = [];
  const add = (number: number, { type, firstSector, sectors }: Entry) => {
    const use = type === TYPE_ESP ? 'esp' : type === TYPE_XBOOTLDR ? 'xbootldr' : 'other';
    const partUuid = `${diskId}-${number.toString(16).padStart(2, '0')}`;
    const [start, sizeBytes] = [firstSector * SECTOR_BYTES, sectors * SECTOR_BYTES];
    try {
      const volume = new Volume(disk, `partition ${number}`, start, sizeBytes);
      partitions.push({ number, use, partUuid, volume });
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      problems.push(error.message);
    }
  };
  const primary = readEntries(sector);
  for (const [index, entry] of primary.entries()) {
    if (entry.type !== 0 && entry.sectors > 0 && !isExtended(entry)) add(index + 1, entry);
  }
  const extended = primary.find(isExtended);
  if (extended !== undefined) {
    try {
      for (const [index, entry] of readLogical(whole, extended).entries()) {
        add(FIRST_LOGICAL + index, entry);
      }
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      problems.push(error.message);
    }
  }
  return { kind: 'msdos', partitions, problems };
}

function isExtended({ type }: Entry): boolean {
  return TYPES_EXTENDED.includes(type);
}

function looksLikeTable(sector: Fields, disk: DiskReader): boolean {
  const statuses = [0, 1, 2, 3].map((index) => sector.u8(ENTRIES_OFFSET + index * ENTRY_BYTES));
  if (statuses.some((status) => status !== 0 && status !== 0x80)) return false;
  return readEntries(sector).some(
    ({ type, firstSector, sectors }) =>
      type !== 0 && sectors > 0 && firstSector > 0 && firstSector * SECTOR_BYTES < disk.sizeBytes,
  );
}

function readEntries(sector: Fields): Entry[] {
  return [0, 1, 2, 3].map((index) => {
    const offset = ENTRIES_OFFSET + index * ENTRY_BYTES;
    return {
      type: sector.u8(offset + 4),
      firstSector: sector.u32(offset + 8),
      sectors: sector.u32(offset + 12),
    };
  });
}

/** Follows the chain of boot records; each has one logical partition and a link to the next. */
function readLogical(whole: Volume, extended: Entry): Entry[] {
  const logical: Entry[] = [];
  const seen = new Set<number>();
  let at = extended.firstSector;
  while (!seen.has(at)) {
    seen.add(at);
    if (seen.size > LOGICAL_MAX) throw whole.invalid(`more than ${LOGICAL_MAX} logical partitions`);
    const sector = whole.read(at * SECTOR_BYTES, SECTOR_BYTES, `boot record in sector ${at}`);
    if (sector.u16(SIGNATURE_OFFSET) !== SIGNATURE) return logical;
    const entries = readEntries(sector);
    const [own] = entries;
    if (own !== undefined && own.type !== 0 && own.sectors > 0) {
      logical.push({ ...own, firstSector: at + own.firstSector });
    }
    const next = entries.slice(1).find((entry) => isExtended(entry) && entry.sectors > 0);
    if (next === undefined) return logical;
    at = extended.firstSector + next.firstSector;
  }
  throw whole.invalid('the chain of logical partitions loops');
}
