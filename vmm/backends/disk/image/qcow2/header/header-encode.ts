/** Writing the header of a qcow2 image: QEMU's docs/interop/qcow2.txt, section "Header". */
import { TsvmError } from '../../../../../errors.ts';
import { encodeBytes } from '../../../../../util/byte-names.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import { encodeExtensions } from './header-extensions.ts';
import type { Header } from './header-fields.ts';
import {
  Autoclear,
  BACKING_NAME_BYTES_MAX,
  COMPRESSION_ZLIB,
  COMPRESSION_ZSTD,
  Compatible,
  HeaderField,
  Incompatible,
  QCOW2_MAGIC,
  UNKNOWN_FIELDS_OFFSET,
  V2_HEADER_BYTES,
} from './layout.ts';

/** A disk writes a sector completely or not at all. */
const SECTOR_BYTES = 512;

/**
 * The bytes of a header, its extensions and the backing name, one after the other.
 * @throws TsvmError `invalid-config` when they do not fit into a cluster
 */
export function encodeHeader(header: Header): Uint8Array {
  const parts = encodeParts(header);
  const nameOffset = parts.beforeName.length;
  const bytes = new Uint8Array(nameOffset + parts.name.length);
  bytes.set(parts.beforeName);
  bytes.set(parts.name, nameOffset);
  bytes.set(encodeFields(withName(header, parts.name, nameOffset)));
  return bytes;
}

/**
 * Writes the fields of a header whose extensions and names have not changed since it was parsed:
 * less than 512 bytes, so that a crash leaves the old fields or the new ones.
 */
export function writeHeader(file: ImageFile, header: Header): void {
  file.writeSync(0, encodeFields(header));
}

/**
 * Writes a header whose extensions or names have changed over the one in the file, and syncs it.
 * The new backing name is first written beside the old one, so that a crash leaves one of them,
 * never a mixture; this needs room for both, and extensions that are in the first 512 bytes or keep
 * their lengths.
 * @returns the header as written
 * @throws TsvmError `invalid-config` when the names do not fit into a cluster
 */
export function rewriteHeader(file: ImageFile, header: Header): Header {
  const { beforeName, name } = encodeParts(header);
  const clusterBytes = 2 ** header.clusterBits;
  const nameOffset = placeName(file, beforeName.length, name.length, clusterBytes);
  const placed = withName(header, name, nameOffset);
  beforeName.set(encodeFields(placed));
  if (nameOffset + name.length <= SECTOR_BYTES) {
    const sector = new Uint8Array(nameOffset + name.length);
    sector.set(beforeName);
    sector.set(name, nameOffset);
    file.writeSync(0, sector);
  } else {
    file.writeSync(nameOffset, name);
    file.datasyncSync();
    file.writeSync(0, beforeName);
  }
  file.datasyncSync();
  return placed;
}

/** An offset at which a new name does not overwrite the old one. */
function placeName(
  file: ImageFile,
  earliest: number,
  nameBytes: number,
  clusterBytes: number,
): number {
  const fields = new DataView(new ArrayBuffer(V2_HEADER_BYTES));
  file.readSync(0, new Uint8Array(fields.buffer));
  const oldStart = fields.getUint32(HeaderField.backing_file_offset + 4);
  const oldEnd = oldStart + fields.getUint32(HeaderField.backing_file_size);
  const apart = earliest >= oldEnd || earliest + nameBytes <= oldStart;
  const inFirstSector = earliest + nameBytes <= SECTOR_BYTES;
  return apart || inFirstSector || oldEnd + nameBytes > clusterBytes ? earliest : oldEnd;
}

function withName(header: Header, name: Uint8Array, offset: number): Header {
  return { ...header, backingNameOffset: name.length === 0 ? 0 : offset };
}

/** The encoded extensions and name, with room for the fields before them. */
function encodeParts(header: Header): { beforeName: Uint8Array; name: Uint8Array } {
  const extensions = encodeExtensions(header);
  const name = encodeBytes(header.backingName ?? '');
  const room = 2 ** header.clusterBits - header.headerBytes - extensions.length;
  if (name.length > Math.min(BACKING_NAME_BYTES_MAX, room)) {
    throw new TsvmError(
      'invalid-config',
      `the backing file's name is too long: ${name.length} bytes, where at most ` +
        `${Math.max(0, Math.min(BACKING_NAME_BYTES_MAX, room))} fit into the image's header`,
    );
  }
  const beforeName = new Uint8Array(header.headerBytes + extensions.length);
  if (header.version === 3) {
    const length = Math.max(0, header.headerBytes - UNKNOWN_FIELDS_OFFSET);
    beforeName.set(header.unknownFields.subarray(0, length), UNKNOWN_FIELDS_OFFSET);
  }
  beforeName.set(extensions, header.headerBytes);
  return { beforeName, name };
}

/** The known fields, up to header_length. */
function encodeFields(header: Header): Uint8Array {
  const bytes = new Uint8Array(
    header.version === 2 ? V2_HEADER_BYTES : Math.min(header.headerBytes, UNKNOWN_FIELDS_OFFSET),
  );
  const view = new DataView(bytes.buffer);
  const u32 = (field: keyof typeof HeaderField, value: number) =>
    view.setUint32(HeaderField[field], value);
  const u64 = (field: keyof typeof HeaderField, value: number | bigint) =>
    view.setBigUint64(HeaderField[field], BigInt(value));
  const name = encodeBytes(header.backingName ?? '');
  u32('magic', QCOW2_MAGIC);
  u32('version', header.version);
  u64('backing_file_offset', header.backingNameOffset);
  u32('backing_file_size', name.length);
  u32('cluster_bits', header.clusterBits);
  u64('size', header.sizeBytes);
  u32('l1_size', header.l1Entries);
  u64('l1_table_offset', header.l1Offset);
  u64('refcount_table_offset', header.refcountTableOffset);
  u32('refcount_table_clusters', header.refcountTableClusters);
  u32('nb_snapshots', header.snapshotCount);
  u64('snapshots_offset', header.snapshotsOffset);
  if (header.version === 2) return bytes;
  u64('incompatible_features', incompatibleBits(header));
  u64('compatible_features', compatibleBits(header));
  u64('autoclear_features', autoclearBits(header));
  u32('refcount_order', Math.log2(header.refcountBits));
  u32('header_length', header.headerBytes);
  if (bytes.length > HeaderField.compression_type) {
    const type = header.compressionType === 'zstd' ? COMPRESSION_ZSTD : COMPRESSION_ZLIB;
    view.setUint8(HeaderField.compression_type, type);
  }
  return bytes;
}

function incompatibleBits(header: Header): bigint {
  return (
    (header.dirty ? Incompatible.DIRTY : 0n) |
    (header.corrupt ? Incompatible.CORRUPT : 0n) |
    (header.externalDataFile ? Incompatible.EXTERNAL_DATA_FILE : 0n) |
    (header.compressionType === 'zlib' ? 0n : Incompatible.COMPRESSION_TYPE) |
    (header.extendedL2 ? Incompatible.EXTENDED_L2 : 0n)
  );
}

function compatibleBits(header: Header): bigint {
  return header.unknownCompatible | (header.lazyRefcounts ? Compatible.LAZY_REFCOUNTS : 0n);
}

function autoclearBits(header: Header): bigint {
  return (
    header.unknownAutoclear |
    (header.bitmapsConsistent ? Autoclear.BITMAPS : 0n) |
    (header.rawExternalData ? Autoclear.RAW_EXTERNAL_DATA : 0n)
  );
}
