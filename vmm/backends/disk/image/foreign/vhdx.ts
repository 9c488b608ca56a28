/** VHDX: [MS-VHDX]. Fields are little-endian; sections are that document's. */
import type { ImageFile } from '../../file/image-file.ts';
import { crc32c } from './crc32c.ts';
import { type Block, DISK_BYTES_MAX, ForeignImage, invalidImage } from './foreign-image.ts';
import { TablePages } from './table-pages.ts';

const MIB = 2 ** 20;
/** 2.2: two headers, of which the one with the higher sequence number is current. */
const HEADER_OFFSETS = [64 * 1024, 128 * 1024];
const HEADER_BYTES = 4096;
/** 2.2.3: two copies of the region table. */
const REGION_OFFSETS = [192 * 1024, 256 * 1024];
const TABLE_BYTES = 64 * 1024;
const ENTRIES_MAX = 2047;
const REGION_ENTRY_BYTES = 32;
const METADATA_ENTRY_BYTES = 32;
/** 2.6.2: metadata items that describe the disk. */
const Guid = {
  bat: '2dc27766f62342009d64115e9bfd4a08',
  metadata: '8b7ca20647904b9ab8fe575f050f886e',
  fileParameters: 'caa16737fa364d43b3b633f0aa44e76b',
  diskSize: '2fa54224cd1b4876b2115dbed83bf4b8',
  logicalSector: '8141bf1da96f4709ba47f233a8faab5f',
  physicalSector: 'cda348c7445d44719cc9e9885251c556',
  diskId: 'beca12abb2e6452393efc309e000c746',
} as const;
const HAS_PARENT = 2;
const METADATA_REQUIRED = 4;
const REGION_REQUIRED = 1;

const BLOCK_BYTES_MIN = MIB;
const BLOCK_BYTES_MAX = 256 * MIB;
/** 2.5: sectors that one sector bitmap covers. */
const CHUNK_SECTORS = 2 ** 23;

/** 2.5.1.1: states of a payload block. */
const PayloadState = {
  NOT_PRESENT: 0,
  UNDEFINED: 1,
  ZERO: 2,
  UNMAPPED: 3,
  FULLY_PRESENT: 6,
} as const;

interface Region {
  readonly offset: number;
  readonly bytes: number;
}

/** @throws TsvmError `invalid-disk` */
export function openVhdx(file: ImageFile): VhdxImage {
  const identifier = read(file, 0, 8);
  if (ascii(identifier, 0, 8) !== 'vhdxfile') throw invalidImage(file, 'not a VHDX image');
  checkHeader(file);
  const regions = readRegions(file);
  const metadata = readMetadata(file, regions.metadata);
  return new VhdxImage(file, regions.bat, metadata);
}

interface DiskShape {
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly sectorBytes: number;
}

class VhdxImage extends ForeignImage {
  readonly format = 'vhdx';
  readonly #bat: Region;
  readonly #chunkRatio: number;
  readonly #pages: TablePages;

  constructor(file: ImageFile, bat: Region, { sizeBytes, blockBytes, sectorBytes }: DiskShape) {
    super(file, sizeBytes, blockBytes);
    this.#bat = bat;
    this.#chunkRatio = (CHUNK_SECTORS * sectorBytes) / blockBytes;
    this.#pages = new TablePages(file);
    const last = Math.ceil(sizeBytes / blockBytes) - 1;
    if (last >= 0 && (this.#entryOf(last) + 1) * 8 > bat.bytes) {
      this.fail('its block allocation table is too short for the disk');
    }
  }

  protected override block(index: number): Block {
    const entry = this.#pages.viewAt(this.#bat.offset + this.#entryOf(index) * 8, 8);
    const low = entry.getUint32(0, true);
    const state = low & 7;
    switch (state) {
      case PayloadState.NOT_PRESENT:
      case PayloadState.UNDEFINED:
        return { kind: 'unallocated' };
      case PayloadState.ZERO:
      case PayloadState.UNMAPPED:
        return { kind: 'zero' };
      case PayloadState.FULLY_PRESENT: {
        // Bits 20 to 63 are the offset in MiB.
        const megabytes = entry.getUint32(4, true) * 2 ** 12 + (low >>> 20);
        const bytes = this.blockBytesOnDisk(index);
        return { kind: 'data', offset: this.checkedOffset(megabytes * MIB, bytes, index) };
      }
      default:
        return this.fail(`block ${index} has the state ${state}, which is not supported`);
    }
  }

  /** The entry of a sector bitmap follows those of its blocks. */
  #entryOf(index: number): number {
    return index + Math.floor(index / this.#chunkRatio);
  }
}

/** 2.2.2. @throws when there is a log, so that the file may be outdated */
function checkHeader(file: ImageFile): void {
  const headers = HEADER_OFFSETS.map((offset) => read(file, offset, HEADER_BYTES))
    .filter((view) => ascii(view, 0, 4) === 'head' && hasSum(view))
    .sort((a, b) => Number(b.getBigUint64(8, true) - a.getBigUint64(8, true)));
  const [header] = headers;
  if (header === undefined) throw invalidImage(file, 'it has no valid header');
  const version = header.getUint16(66, true);
  if (version !== 1) throw invalidImage(file, `VHDX version ${version} is not supported`);
  if (!guidAt(header, 48).match(/^0+$/)) {
    throw invalidImage(
      file,
      'it was not closed, and has a log to be replayed: attach it once to the program that made it, ' +
        `or run "qemu-img check -r all -f vhdx ${file.path}"`,
    );
  }
}

/** 2.2.3 */
function readRegions(file: ImageFile): { bat: Region; metadata: Region } {
  const table = REGION_OFFSETS.map((offset) => read(file, offset, TABLE_BYTES)).find(
    (view) => ascii(view, 0, 4) === 'regi' && hasSum(view),
  );
  if (table === undefined) throw invalidImage(file, 'it has no valid region table');
  const count = table.getUint32(8, true);
  if (count > ENTRIES_MAX) throw invalidImage(file, `its region table has ${count} entries`);
  const found = new Map<string, Region>();
  for (let at = 16; at < 16 + count * REGION_ENTRY_BYTES; at += REGION_ENTRY_BYTES) {
    const guid = guidAt(table, at);
    const offset = Number(table.getBigUint64(at + 16, true));
    const bytes = table.getUint32(at + 24, true);
    const isKnown = guid === Guid.bat || guid === Guid.metadata;
    const isRequired = (table.getUint32(at + 28, true) & REGION_REQUIRED) !== 0;
    if (!isKnown && isRequired) throw invalidImage(file, `it requires the unknown region ${guid}`);
    if (!isKnown) continue;
    if (offset < MIB || offset % MIB !== 0 || offset + bytes > file.sizeBytes()) {
      throw invalidImage(file, `a region at ${offset} extends past the end of the file`);
    }
    if (found.has(guid)) throw invalidImage(file, 'a region occurs twice');
    found.set(guid, { offset, bytes });
  }
  const [bat, metadata] = [found.get(Guid.bat), found.get(Guid.metadata)];
  if (bat === undefined || metadata === undefined) throw invalidImage(file, 'it lacks a region');
  return { bat, metadata };
}

/** 2.6 */
function readMetadata(file: ImageFile, region: Region): DiskShape {
  const table = read(file, region.offset, TABLE_BYTES);
  if (region.bytes < TABLE_BYTES || ascii(table, 0, 8) !== 'metadata') {
    throw invalidImage(file, 'it has no metadata table');
  }
  const count = table.getUint16(10, true);
  if (count > ENTRIES_MAX) throw invalidImage(file, `its metadata table has ${count} entries`);
  const items = new Map<string, DataView>();
  for (let at = 32; at < 32 + count * METADATA_ENTRY_BYTES; at += METADATA_ENTRY_BYTES) {
    const guid = guidAt(table, at);
    const offset = table.getUint32(at + 16, true);
    const length = table.getUint32(at + 20, true);
    const isKnown = Object.values(Guid).some((known) => known === guid);
    if (!isKnown && (table.getUint32(at + 24, true) & METADATA_REQUIRED) !== 0) {
      throw invalidImage(file, `it needs the unknown metadata item ${guid}`);
    }
    if (!isKnown) continue;
    if (offset < TABLE_BYTES || offset + 8 > region.bytes || length > region.bytes) {
      throw invalidImage(file, `the metadata item ${guid} is outside its region`);
    }
    items.set(guid, read(file, region.offset + offset, 8));
  }
  return shapeOf(file, items);
}

function shapeOf(file: ImageFile, items: ReadonlyMap<string, DataView>): DiskShape {
  const [parameters, size, sector] = [Guid.fileParameters, Guid.diskSize, Guid.logicalSector].map(
    (guid) => items.get(guid),
  );
  if (parameters === undefined || size === undefined || sector === undefined) {
    throw invalidImage(file, 'it lacks the size of the disk, its blocks or sectors');
  }
  const blockBytes = parameters.getUint32(0, true);
  if ((parameters.getUint32(4, true) & HAS_PARENT) !== 0) {
    throw invalidImage(file, 'it has a parent image, which is not supported: merge it into that');
  }
  const isPowerOfTwo = Number.isInteger(Math.log2(blockBytes));
  if (!isPowerOfTwo || blockBytes < BLOCK_BYTES_MIN || blockBytes > BLOCK_BYTES_MAX) {
    throw invalidImage(file, `its block size is ${blockBytes}, which is invalid`);
  }
  const sectorBytes = sector.getUint32(0, true);
  if (sectorBytes !== 512 && sectorBytes !== 4096) {
    throw invalidImage(file, `its sectors have ${sectorBytes} bytes, which is invalid`);
  }
  const sizeBytes = Number(size.getBigUint64(0, true));
  if (sizeBytes > DISK_BYTES_MAX || sizeBytes % sectorBytes !== 0) {
    throw invalidImage(file, `its disk has an invalid size of ${sizeBytes} bytes`);
  }
  return { sizeBytes, blockBytes, sectorBytes };
}

function read(file: ImageFile, offset: number, bytes: number): DataView {
  const data = new Uint8Array(bytes);
  file.readSync(offset, data);
  return new DataView(data.buffer);
}

/** The checksum is at offset 4 and counts as 0 in its own sum. */
function hasSum(view: DataView): boolean {
  const bytes = new Uint8Array(view.buffer.slice(0));
  bytes.fill(0, 4, 8);
  return crc32c(bytes) === view.getUint32(4, true);
}

function ascii(view: DataView, offset: number, length: number): string {
  return Buffer.from(view.buffer, offset, length).toString('latin1');
}

/** Hexadecimal digits in the order in which GUIDs are written. */
function guidAt(view: DataView, offset: number): string {
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, '0');
  const rest = Buffer.from(view.buffer, offset + 8, 8).toString('hex');
  return (
    hex(view.getUint32(offset, true), 8) +
    hex(view.getUint16(offset + 4, true), 4) +
    hex(view.getUint16(offset + 6, true), 4) +
    rest
  );
}
