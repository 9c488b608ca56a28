/** VHD: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0. Fields are big-endian. */
import type { ImageFile } from '../../file/image-file.ts';
import { type Block, DISK_BYTES_MAX, ForeignImage, invalidImage } from './foreign-image.ts';
import { TablePages } from './table-pages.ts';

const SECTOR_BYTES = 512;
const FOOTER_BYTES = 512;
const HEADER_BYTES = 1024;
/** "Hard Disk Footer Format": byte offsets of the fields. */
const Footer = {
  cookie: 0,
  dataOffset: 16,
  creatorApplication: 28,
  currentSize: 48,
  cylinders: 56,
  heads: 58,
  sectors: 59,
  diskType: 60,
  checksum: 64,
} as const;
/** "Dynamic Disk Header Format": byte offsets of the fields. */
const Header = {
  cookie: 0,
  tableOffset: 16,
  maxTableEntries: 28,
  blockSize: 32,
  checksum: 36,
} as const;

const TYPE_FIXED = 2;
const TYPE_DYNAMIC = 3;
const TYPE_DIFFERENCING = 4;
const BLOCK_BYTES_MAX = 256 * 2 ** 20;
const UNUSED = 0xffff_ffff;
/** The largest geometry: a disk that has it may be larger. */
const GEOMETRY_SECTORS_MAX = 65_535 * 16 * 255;
/** Block size for a fixed disk. */
const FIXED_BLOCK_BYTES = 2 * 2 ** 20;
/** Creators for which "current size" is the disk's size; for others the geometry is. */
const BY_CURRENT_SIZE = ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS'];

/** @throws TsvmError `invalid-disk` */
export function openVpc(file: ImageFile): VpcImage {
  const { footer, isAtStart } = readFooter(file);
  const type = footer.getUint32(Footer.diskType);
  const sizeBytes = diskBytes(file, footer);
  if (type === TYPE_FIXED || !isAtStart) {
    if (type !== TYPE_FIXED) throw invalidImage(file, 'its dynamic header is missing');
    return new VpcImage(file, sizeBytes, FIXED_BLOCK_BYTES, undefined);
  }
  if (type === TYPE_DIFFERENCING) {
    throw invalidImage(file, 'it has a parent image, which is not supported: merge it into that');
  }
  if (type !== TYPE_DYNAMIC) throw invalidImage(file, `disk type ${type} is unknown`);
  const header = readHeader(file, Number(footer.getBigUint64(Footer.dataOffset)));
  const blockBytes = header.getUint32(Header.blockSize);
  const isPowerOfTwo = Number.isInteger(Math.log2(blockBytes));
  if (!isPowerOfTwo || blockBytes < SECTOR_BYTES || blockBytes > BLOCK_BYTES_MAX) {
    throw invalidImage(file, `its block size is ${blockBytes}, which is invalid`);
  }
  const entries = header.getUint32(Header.maxTableEntries);
  if (entries * blockBytes < sizeBytes) {
    throw invalidImage(file, `its table has ${entries} entries: too few for the disk`);
  }
  const tableOffset = Number(header.getBigUint64(Header.tableOffset));
  const used = Math.ceil(sizeBytes / blockBytes);
  if (tableOffset % 4 !== 0 || tableOffset + used * 4 > file.sizeBytes()) {
    throw invalidImage(file, `its table at ${tableOffset} extends past the end of the file`);
  }
  return new VpcImage(file, sizeBytes, blockBytes, tableOffset);
}

/** The table has the place of each block's sector bitmap, which is followed by the block's data. */
export class VpcImage extends ForeignImage {
  readonly format = 'vpc';
  readonly #tableOffset: number | undefined;
  readonly #bitmapBytes: number;
  readonly #pages: TablePages;

  /** @param tableOffset undefined for a fixed disk, whose data begins with the file */
  constructor(
    file: ImageFile,
    sizeBytes: number,
    blockBytes: number,
    tableOffset: number | undefined,
  ) {
    super(file, sizeBytes, blockBytes);
    this.#tableOffset = tableOffset;
    const bits = blockBytes / SECTOR_BYTES;
    this.#bitmapBytes = Math.ceil(bits / 8 / SECTOR_BYTES) * SECTOR_BYTES;
    this.#pages = new TablePages(file);
  }

  get isFixed(): boolean {
    return this.#tableOffset === undefined;
  }

  protected override block(index: number): Block {
    if (this.#tableOffset === undefined) {
      return { kind: 'data', offset: index * this.clusterBytes };
    }
    const sector = this.#pages.viewAt(this.#tableOffset + index * 4, 4).getUint32(0);
    if (sector === UNUSED) return { kind: 'unallocated' };
    const offset = sector * SECTOR_BYTES + this.#bitmapBytes;
    return {
      kind: 'data',
      offset: this.checkedOffset(offset, this.blockBytesOnDisk(index), index),
    };
  }
}

/** A dynamic disk has a copy of the footer at its start; a fixed one has only the footer. */
function readFooter(file: ImageFile): { footer: DataView; isAtStart: boolean } {
  const copy = readView(file, 0, FOOTER_BYTES);
  if (hasCookie(copy, 'conectix')) {
    checkSum(file, copy, Footer.checksum);
    return { footer: copy, isAtStart: true };
  }
  const end = file.sizeBytes() - FOOTER_BYTES;
  const footer = end < 0 ? undefined : readView(file, end, FOOTER_BYTES);
  if (footer === undefined || !hasCookie(footer, 'conectix')) {
    throw invalidImage(file, 'not a VHD image: it has no footer');
  }
  checkSum(file, footer, Footer.checksum);
  return { footer, isAtStart: false };
}

function readHeader(file: ImageFile, offset: number): DataView {
  if (!(offset > 0 && offset + HEADER_BYTES <= file.sizeBytes())) {
    throw invalidImage(file, `its dynamic header at ${offset} extends past the end of the file`);
  }
  const header = readView(file, offset, HEADER_BYTES);
  if (!hasCookie(header, 'cxsparse')) throw invalidImage(file, 'it has no dynamic header');
  checkSum(file, header, Header.checksum);
  return header;
}

/** QEMU's rule, so that both see the same disk. */
function diskBytes(file: ImageFile, footer: DataView): number {
  const creator = text(footer, Footer.creatorApplication, 4);
  const geometry =
    footer.getUint16(Footer.cylinders) *
    footer.getUint8(Footer.heads) *
    footer.getUint8(Footer.sectors);
  const bySize = BY_CURRENT_SIZE.includes(creator) || geometry === GEOMETRY_SECTORS_MAX;
  const bytes = bySize
    ? Math.floor(Number(footer.getBigUint64(Footer.currentSize)) / SECTOR_BYTES) * SECTOR_BYTES
    : geometry * SECTOR_BYTES;
  if (bytes <= DISK_BYTES_MAX) return bytes;
  throw invalidImage(file, `its disk of ${bytes} bytes is too large`);
}

/** "One's complement of the sum of all the bytes without the checksum field." */
function checkSum(file: ImageFile, view: DataView, field: number): void {
  let sum = 0;
  for (let at = 0; at < view.byteLength; at++) {
    if (at < field || at >= field + 4) sum += view.getUint8(at);
  }
  if (~sum >>> 0 === view.getUint32(field)) return;
  throw invalidImage(file, 'a checksum in its header or footer is wrong');
}

function readView(file: ImageFile, offset: number, bytes: number): DataView {
  const read = new Uint8Array(bytes);
  file.readSync(offset, read);
  return new DataView(read.buffer);
}

function hasCookie(view: DataView, cookie: string): boolean {
  return text(view, 0, 8) === cookie;
}

function text(view: DataView, offset: number, length: number): string {
  return Buffer.from(view.buffer, view.byteOffset + offset, length).toString('latin1');
}
