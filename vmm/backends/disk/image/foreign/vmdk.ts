/**
 * VMDK in one file: VMware's "Virtual Disk Format 5.0", "Hosted Sparse Extents" and
 * "Stream-Optimized Compressed Sparse Extents". Fields are little-endian and unaligned.
 */
import { inflateSync } from 'node:zlib';
import type { ImageFile } from '../../file/image-file.ts';
import { type Block, DISK_BYTES_MAX, ForeignImage, invalidImage } from './foreign-image.ts';
import { TablePages } from './table-pages.ts';

const SECTOR_BYTES = 512;
/** "SparseExtentHeader": byte offsets of the fields. */
const Header = {
  magic: 0,
  version: 4,
  flags: 8,
  capacity: 12,
  grainSize: 20,
  descriptorOffset: 28,
  descriptorSize: 36,
  numGTEsPerGT: 44,
  gdOffset: 56,
  compressAlgorithm: 77,
} as const;
const MAGIC = 'KDMV';
const VERSION_MAX = 3;
/** The value of gdOffset in a stream: the copy of the header in the footer has the real one. */
const GD_AT_END = 0xffff_ffff_ffff_ffffn;
/** The footer is followed by one sector, the end-of-stream marker. */
const FOOTER_FROM_END = 2 * SECTOR_BYTES;
const FLAG_ZEROED_GRAIN = 1 << 2;
const FLAG_COMPRESSED = 1 << 16;
const FLAG_MARKERS = 1 << 17;
const COMPRESSION_DEFLATE = 1;
const GRAIN_BYTES_MIN = 4096;
const GRAIN_BYTES_MAX = 2 * 2 ** 20;
const TABLE_ENTRIES_MAX = 512;
const DIRECTORY_BYTES_MAX = 32 * 2 ** 20;
const DESCRIPTOR_BYTES_MAX = 64 * 1024;
/** "GrainMarker": the number of the first sector, and the length of the data. */
const MARKER_BYTES = 12;
const NO_PARENT = 0xffff_ffff;
/** Grain table entry for zeroes, where the header's flag allows it. */
const ZEROED_GRAIN = 1;

/** Contents of the embedded descriptor. */
export interface VmdkDescriptor {
  readonly cid: number;
  readonly parentCid: number;
  readonly createType: string;
}

/** @throws TsvmError `invalid-disk` */
export function openVmdk(file: ImageFile): VmdkImage {
  const start = readHeader(file, 0);
  if (text(start, Header.magic, 4) !== MAGIC) throw invalidImage(file, reasonFor(start));
  const atEnd = start.getBigUint64(Header.gdOffset, true) === GD_AT_END;
  const header = atEnd ? readFooter(file) : start;
  const descriptor = readDescriptor(file, start);
  if (descriptor.parentCid !== NO_PARENT) {
    throw invalidImage(file, 'it has a parent image, which is not supported: merge it into that');
  }
  return new VmdkImage(file, shapeOf(file, header), descriptor);
}

function reasonFor(start: DataView): string {
  if (text(start, 0, 4) === 'COWD' || text(start, 0, 21) === '# Disk DescriptorFile') {
    return (
      'of vmdk images, those in one sparse file are supported: convert it with ' +
      '"qemu-img convert -f vmdk -O qcow2"'
    );
  }
  return 'not a vmdk image';
}

interface SparseShape {
  readonly sizeBytes: number;
  readonly grainBytes: number;
  readonly entriesPerTable: number;
  readonly directoryOffset: number;
  readonly hasZeroedGrains: boolean;
  readonly isCompressed: boolean;
  readonly hasMarkers: boolean;
}

/** A grain directory, which refers to grain tables. */
export class VmdkImage extends ForeignImage {
  readonly format = 'vmdk';
  readonly descriptor: VmdkDescriptor;
  readonly isCompressed: boolean;
  readonly #shape: SparseShape;
  readonly #pages: TablePages;

  constructor(file: ImageFile, shape: SparseShape, descriptor: VmdkDescriptor) {
    super(file, shape.sizeBytes, shape.grainBytes);
    this.descriptor = descriptor;
    this.isCompressed = shape.isCompressed;
    this.#shape = shape;
    this.#pages = new TablePages(file);
  }

  protected override block(index: number): Block {
    const { directoryOffset, entriesPerTable, hasZeroedGrains, isCompressed } = this.#shape;
    const table = Math.floor(index / entriesPerTable);
    const tableSector = this.#entry(directoryOffset + table * 4);
    if (tableSector === 0) return { kind: 'unallocated' };
    const at = tableSector * SECTOR_BYTES + (index % entriesPerTable) * 4;
    if (at + 4 > this.file.sizeBytes()) {
      return this.fail(`grain table ${table} lies past the end of the file`);
    }
    const sector = this.#entry(at);
    if (sector === 0) return { kind: 'unallocated' };
    if (sector === ZEROED_GRAIN && hasZeroedGrains) return { kind: 'zero' };
    const offset = sector * SECTOR_BYTES;
    if (isCompressed) {
      return { kind: 'compressed', offset: this.checkedOffset(offset, MARKER_BYTES, index) };
    }
    return {
      kind: 'data',
      offset: this.checkedOffset(offset, this.blockBytesOnDisk(index), index),
    };
  }

  protected override inflate(index: number, offset: number): Uint8Array {
    const grainBytes = this.clusterBytes;
    const { hasMarkers } = this.#shape;
    // Incompressible data may be a little longer than the grain.
    const lengthMax = 2 * grainBytes;
    const marker = new Uint8Array(MARKER_BYTES);
    this.file.readSync(offset, marker);
    const length = hasMarkers ? new DataView(marker.buffer).getUint32(8, true) : lengthMax;
    if (length === 0 || length > lengthMax) {
      return this.fail(`compressed grain ${index} has ${length} bytes, which is invalid`);
    }
    const start = hasMarkers ? offset + MARKER_BYTES : offset;
    if (hasMarkers) this.checkedOffset(start, length, index);
    const packed = new Uint8Array(length);
    this.file.readSync(start, packed);
    let plain: Uint8Array;
    try {
      plain = inflateSync(packed, { maxOutputLength: grainBytes });
    } catch {
      return this.fail(`compressed grain ${index} cannot be inflated`);
    }
    if (plain.length === grainBytes || plain.length === this.blockBytesOnDisk(index)) return plain;
    return this.fail(`compressed grain ${index} is ${plain.length} bytes long`);
  }

  #entry(offset: number): number {
    return this.#pages.viewAt(offset, 4).getUint32(0, true);
  }
}

function readHeader(file: ImageFile, offset: number): DataView {
  const bytes = new Uint8Array(SECTOR_BYTES);
  file.readSync(offset, bytes);
  return new DataView(bytes.buffer);
}

function readFooter(file: ImageFile): DataView {
  const offset = file.sizeBytes() - FOOTER_FROM_END;
  const footer = offset > 0 ? readHeader(file, offset) : undefined;
  if (footer === undefined || text(footer, Header.magic, 4) !== MAGIC) {
    throw invalidImage(file, 'its footer is missing: the file is incomplete');
  }
  return footer;
}

function shapeOf(file: ImageFile, header: DataView): SparseShape {
  const u64 = (field: number) => Number(header.getBigUint64(field, true));
  const version = header.getUint32(Header.version, true);
  if (version === 0 || version > VERSION_MAX) {
    throw invalidImage(file, `vmdk version ${version} is not supported`);
  }
  const flags = header.getUint32(Header.flags, true);
  const isCompressed = (flags & FLAG_COMPRESSED) !== 0;
  if (isCompressed && header.getUint16(Header.compressAlgorithm, true) !== COMPRESSION_DEFLATE) {
    throw invalidImage(file, 'it is compressed in an unknown way');
  }
  const sizeBytes = u64(Header.capacity) * SECTOR_BYTES;
  if (sizeBytes > DISK_BYTES_MAX) {
    throw invalidImage(file, `its disk of ${sizeBytes} bytes is too large`);
  }
  const grainBytes = u64(Header.grainSize) * SECTOR_BYTES;
  const isPowerOfTwo = Number.isInteger(Math.log2(grainBytes));
  if (!isPowerOfTwo || grainBytes < GRAIN_BYTES_MIN || grainBytes > GRAIN_BYTES_MAX) {
    throw invalidImage(file, `its grain size is ${grainBytes}, which is not supported`);
  }
  const entriesPerTable = header.getUint32(Header.numGTEsPerGT, true);
  if (entriesPerTable === 0 || entriesPerTable > TABLE_ENTRIES_MAX) {
    throw invalidImage(file, `its grain tables have ${entriesPerTable} entries, which is invalid`);
  }
  const directoryOffset = u64(Header.gdOffset) * SECTOR_BYTES;
  const directoryBytes = Math.ceil(sizeBytes / (grainBytes * entriesPerTable)) * 4;
  if (directoryBytes > DIRECTORY_BYTES_MAX) {
    throw invalidImage(file, `its grain directory of ${directoryBytes} bytes is too large`);
  }
  if (directoryOffset === 0 || directoryOffset + directoryBytes > file.sizeBytes()) {
    throw invalidImage(file, 'its grain directory extends past the end of the file');
  }
  return {
    sizeBytes,
    grainBytes,
    entriesPerTable,
    directoryOffset,
    hasZeroedGrains: (flags & FLAG_ZEROED_GRAIN) !== 0,
    isCompressed,
    hasMarkers: (flags & FLAG_MARKERS) !== 0,
  };
}

function readDescriptor(file: ImageFile, header: DataView): VmdkDescriptor {
  const offset = Number(header.getBigUint64(Header.descriptorOffset, true)) * SECTOR_BYTES;
  const bytes = Number(header.getBigUint64(Header.descriptorSize, true)) * SECTOR_BYTES;
  if (offset === 0) throw invalidImage(file, 'it is a part of an image in several files');
  if (bytes > DESCRIPTOR_BYTES_MAX || offset + bytes > file.sizeBytes()) {
    throw invalidImage(file, `its descriptor of ${bytes} bytes at ${offset} is invalid`);
  }
  const data = Buffer.alloc(bytes);
  file.readSync(offset, data);
  const [said = ''] = data.toString('latin1').split('\0');
  const value = (key: string) =>
    new RegExp(`^\\s*${key}\\s*=\\s*"?([^"\\r\\n]*)`, 'm').exec(said)?.[1];
  const number = (key: string, absent: number) => Number.parseInt(value(key) ?? '', 16) || absent;
  return {
    cid: number('CID', 0) >>> 0,
    parentCid: number('parentCID', NO_PARENT) >>> 0,
    createType: value('createType') ?? '',
  };
}

function text(view: DataView, offset: number, length: number): string {
  return Buffer.from(view.buffer, view.byteOffset + offset, length).toString('latin1');
}
