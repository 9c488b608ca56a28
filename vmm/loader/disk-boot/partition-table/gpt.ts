/** GUID Partition Table: UEFI 2.10, section 5.3. */
import { crc32 } from 'node:zlib';
import { TsvmError } from '../../../errors.ts';
import { type DiskReader, Volume } from '../disk-source.ts';
import type { Fields } from '../fields.ts';
import type { Partition, PartitionTable, PartitionUse } from './partition.ts';

const SIGNATURE = 'EFI PART';
const BLOCK_SIZES = [512, 4096];
const HEADER_MIN_BYTES = 92;
const HEADER_CRC_OFFSET = 16;
const ENTRY_MIN_BYTES = 128;
const ENTRIES_BYTES_MAX = 2 ** 20;

/** Types by their GUID: UAPI's Discoverable Partitions Specification. */
const USES: Readonly<Record<string, PartitionUse>> = {
  'c12a7328-f81f-11d2-ba4b-00a0c93ec93b': 'esp',
  'bc13c2ff-59e6-4262-a352-b275fd6f7172': 'xbootldr',
};

/**
 * Reads the table, or its backup when it is damaged; undefined when the disk has none.
 * @throws TsvmError `invalid-disk` when both are damaged
 */
export function readGpt(disk: DiskReader): PartitionTable | undefined {
  const whole = new Volume(disk, 'the partition table (GPT)', 0, disk.sizeBytes);
  for (const blockBytes of BLOCK_SIZES) {
    if (!hasSignature(whole, blockBytes)) continue;
    try {
      return readTable(disk, whole, blockBytes, blockBytes);
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      const backup = disk.sizeBytes - (disk.sizeBytes % blockBytes) - blockBytes;
      if (!hasSignature(whole, backup)) throw error;
      return readTable(disk, whole, blockBytes, backup);
    }
  }
  return undefined;
}

function hasSignature(whole: Volume, offset: number): boolean {
  if (offset < 0 || offset + HEADER_MIN_BYTES > whole.sizeBytes) return false;
  return whole.read(offset, SIGNATURE.length, 'header').has(0, SIGNATURE);
}

function readTable(
  disk: DiskReader,
  whole: Volume,
  blockBytes: number,
  headerOffset: number,
): PartitionTable {
  const header = readHeader(whole, blockBytes, headerOffset);
  const count = header.u32(80);
  const entryBytes = header.u32(84);
  if (entryBytes < ENTRY_MIN_BYTES || count * entryBytes > ENTRIES_BYTES_MAX) {
    throw whole.invalid(`${count} entries of ${entryBytes} bytes are out of range`);
  }
  const array = whole.read(header.u64(72) * blockBytes, count * entryBytes, 'entries');
  if (crc32(array.bytes) !== header.u32(88))
    throw whole.invalid('the checksum of its entries is wrong');
  const partitions: Partition[] = [];
  const problems: string[] = [];
  for (let index = 0; index < count; index++) {
    try {
      const entry = array.part(index * entryBytes, entryBytes);
      const partition = readEntry(disk, entry, index + 1, blockBytes);
      if (partition !== undefined) partitions.push(partition);
    } catch (error) {
      if (!(error instanceof TsvmError)) throw error;
      problems.push(error.message);
    }
  }
  return { kind: 'gpt', partitions, problems };
}

function readHeader(whole: Volume, blockBytes: number, offset: number): Fields {
  const sizeBytes = whole.read(offset, HEADER_MIN_BYTES, 'header').u32(12);
  if (sizeBytes < HEADER_MIN_BYTES || sizeBytes > blockBytes) {
    throw whole.invalid(`a header of ${sizeBytes} bytes is out of range`);
  }
  const header = whole.read(offset, sizeBytes, 'header');
  const zeroed = header.bytes.slice();
  zeroed.fill(0, HEADER_CRC_OFFSET, HEADER_CRC_OFFSET + 4);
  if (crc32(zeroed) !== header.u32(HEADER_CRC_OFFSET)) {
    throw whole.invalid('the checksum of its header is wrong');
  }
  return header;
}

function readEntry(
  disk: DiskReader,
  entry: Fields,
  number: number,
  blockBytes: number,
): Partition | undefined {
  if (entry.slice(0, 16).every((byte) => byte === 0)) return undefined;
  const first = entry.u64(32);
  const last = entry.u64(40);
  const sizeBytes = (last - first + 1) * blockBytes;
  const volume = new Volume(disk, `partition ${number}`, first * blockBytes, sizeBytes);
  const use = USES[guid(entry, 0)] ?? 'other';
  return { number, use, partUuid: guid(entry, 16), volume };
}

/** Text of a GUID, whose first three fields are little-endian: UEFI 2.10, appendix A. */
function guid(fields: Fields, offset: number): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const rest = Buffer.from(fields.slice(offset + 8, 8)).toString('hex');
  return [
    hex(fields.u32(offset), 8),
    hex(fields.u16(offset + 4), 4),
    hex(fields.u16(offset + 6), 4),
    rest.slice(0, 4),
    rest.slice(4),
  ].join('-');
}
