/** The header of a qcow2 image: QEMU's docs/interop/qcow2.txt, section "Header". */
import { TsvmError } from '../../../../../errors.ts';
import type { ImageFile } from '../../../file/image-file.ts';
import type { CompressionKind } from '../map/compression.ts';
import { checkHeader, refuseUnknownFeatures } from './header-checks.ts';
import {
  decodeName,
  type Fail,
  parseBitmaps,
  parseExtensions,
  viewOf,
} from './header-extensions.ts';
import type { Header } from './header-fields.ts';
import {
  Autoclear,
  BACKING_NAME_BYTES_MAX,
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  COMPRESSION_ZLIB,
  COMPRESSION_ZSTD,
  Compatible,
  ExtensionType,
  HeaderField,
  Incompatible,
  QCOW2_MAGIC,
  REFCOUNT_ORDER_MAX,
  UNKNOWN_FIELDS_OFFSET,
  V2_HEADER_BYTES,
  V3_HEADER_BYTES,
  V3_HEADER_BYTES_MIN,
} from './layout.ts';

/** Known bits of the feature fields. */
const KNOWN_COMPATIBLE = Compatible.LAZY_REFCOUNTS;
const KNOWN_AUTOCLEAR = Autoclear.BITMAPS | Autoclear.RAW_EXTERNAL_DATA;

/**
 * Reads and validates a header, its extensions and the places of tables. The tables themselves are
 * not read.
 * @throws TsvmError `invalid-disk` naming the invalid field or the unknown feature
 */
export function parseHeader(file: ImageFile): Header {
  const fileBytes = file.sizeBytes();
  const fail: Fail = (problem) => {
    throw new TsvmError('invalid-disk', `${file.path}: ${problem}`);
  };
  const start = new Uint8Array(V3_HEADER_BYTES);
  file.readSync(0, start);
  const startView = viewOf(start);
  if (fileBytes < V2_HEADER_BYTES || startView.getUint32(HeaderField.magic) !== QCOW2_MAGIC) {
    return fail('not a qcow2 image; if it is a raw disk, give its format as raw');
  }
  const version = startView.getUint32(HeaderField.version);
  if (version !== 2 && version !== 3) {
    return fail(`qcow2 version ${version} is not supported, only 2 and 3 are`);
  }
  const clusterBits = startView.getUint32(HeaderField.cluster_bits);
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) {
    return fail(`cluster_bits is ${clusterBits}, not ${CLUSTER_BITS_MIN} to ${CLUSTER_BITS_MAX}`);
  }
  const cluster = new Uint8Array(2 ** clusterBits);
  file.readSync(0, cluster);
  const header = parseFields(cluster, version, clusterBits, fail);
  checkHeader(header, fileBytes, fail);
  return header;
}

/** @param cluster the image's first cluster */
function parseFields(cluster: Uint8Array, version: 2 | 3, clusterBits: number, fail: Fail): Header {
  const view = viewOf(cluster);
  const u32 = (field: keyof typeof HeaderField) => view.getUint32(HeaderField[field]);
  const bits = (field: keyof typeof HeaderField) =>
    version === 2 ? 0n : view.getBigUint64(HeaderField[field]);
  const u64 = (field: keyof typeof HeaderField) => {
    const value = view.getBigUint64(HeaderField[field]);
    return value <= Number.MAX_SAFE_INTEGER
      ? Number(value)
      : fail(`${field} is too large: ${value} bytes, where less than 8 PiB is supported`);
  };

  const method = u32('crypt_method');
  if (method !== 0) {
    const name = { 1: 'AES', 2: 'LUKS' }[method];
    fail(`${name ?? `unknown (crypt_method ${method})`} encryption is not supported`);
  }
  const headerBytes = version === 2 ? V2_HEADER_BYTES : u32('header_length');
  if (version === 3) checkHeaderLength(headerBytes, cluster.length, fail);
  const backing = parseBackingName(cluster, headerBytes, fail);
  const parsed = parseExtensions(
    cluster.subarray(headerBytes, backing?.offset ?? cluster.length),
    fail,
  );

  const incompatible = bits('incompatible_features');
  refuseUnknownFeatures(incompatible, parsed.others, fail);
  const compatible = bits('compatible_features');
  const autoclear = bits('autoclear_features');
  const externalDataFile = (incompatible & Incompatible.EXTERNAL_DATA_FILE) !== 0n;
  const bitmapsExtension = parsed.others.find(({ type }) => type === ExtensionType.BITMAPS);
  const bitmapsConsistent =
    (autoclear & Autoclear.BITMAPS) !== 0n && bitmapsExtension !== undefined;
  const refcountOrder = version === 2 ? 4 : u32('refcount_order');
  if (refcountOrder > REFCOUNT_ORDER_MAX) {
    fail(`refcount_order is ${refcountOrder}, more than ${REFCOUNT_ORDER_MAX}`);
  }
  const snapshotCount = u32('nb_snapshots');
  return {
    version,
    clusterBits,
    // QEMU's rule for a size that is not a whole number of sectors.
    sizeBytes: Math.floor(u64('size') / 512) * 512,
    backingName: backing?.name,
    backingFormat: parsed.backingFormat,
    backingNameOffset: backing?.offset ?? 0,
    l1Offset: u64('l1_table_offset'),
    l1Entries: u32('l1_size'),
    refcountTableOffset: u64('refcount_table_offset'),
    refcountTableClusters: u32('refcount_table_clusters'),
    refcountBits: 2 ** refcountOrder,
    snapshotCount,
    snapshotsOffset: snapshotCount === 0 ? 0 : u64('snapshots_offset'),
    dirty: (incompatible & Incompatible.DIRTY) !== 0n,
    corrupt: (incompatible & Incompatible.CORRUPT) !== 0n,
    externalDataFile,
    dataFileName: parsed.dataFileName,
    // "This bit may only be set if the External Data File bit is also set".
    rawExternalData: externalDataFile && (autoclear & Autoclear.RAW_EXTERNAL_DATA) !== 0n,
    extendedL2: (incompatible & Incompatible.EXTENDED_L2) !== 0n,
    compressionType: parseCompressionType(
      headerBytes > HeaderField.compression_type ? view.getUint8(HeaderField.compression_type) : 0,
      (incompatible & Incompatible.COMPRESSION_TYPE) !== 0n,
      fail,
    ),
    lazyRefcounts: (compatible & Compatible.LAZY_REFCOUNTS) !== 0n,
    unknownCompatible: compatible & ~KNOWN_COMPATIBLE,
    unknownAutoclear: autoclear & ~KNOWN_AUTOCLEAR,
    bitmaps: bitmapsConsistent ? parseBitmaps(bitmapsExtension.data, clusterBits, fail) : undefined,
    bitmapsConsistent,
    extensions: parsed.others,
    headerBytes,
    unknownFields: cluster.slice(
      UNKNOWN_FIELDS_OFFSET,
      Math.max(UNKNOWN_FIELDS_OFFSET, headerBytes),
    ),
  };
}

function checkHeaderLength(headerBytes: number, clusterBytes: number, fail: Fail): void {
  if (headerBytes < V3_HEADER_BYTES_MIN || headerBytes % 8 !== 0) {
    fail(`header_length is ${headerBytes}, not a multiple of 8 from ${V3_HEADER_BYTES_MIN} on`);
  }
  if (headerBytes > clusterBytes) {
    fail(`header_length is ${headerBytes}, more than the cluster of ${clusterBytes}`);
  }
}

function parseBackingName(
  cluster: Uint8Array,
  headerBytes: number,
  fail: Fail,
): { name: string; offset: number } | undefined {
  const view = viewOf(cluster);
  const high = view.getUint32(HeaderField.backing_file_offset);
  const offset = view.getUint32(HeaderField.backing_file_offset + 4);
  if (high === 0 && offset === 0) return undefined;
  const length = view.getUint32(HeaderField.backing_file_size);
  // An empty name means no backing file, as for QEMU.
  if (length === 0) return undefined;
  if (high !== 0 || offset < headerBytes || offset >= cluster.length) {
    fail('backing_file_offset is outside the first cluster, or inside the header');
  }
  if (length > BACKING_NAME_BYTES_MAX || offset + length > cluster.length) {
    fail(`backing_file_size is ${length}: it is too long, or extends past the first cluster`);
  }
  return {
    name: decodeName(cluster.subarray(offset, offset + length), 'backing file', fail),
    offset,
  };
}

function parseCompressionType(type: number, bitSet: boolean, fail: Fail): CompressionKind {
  if (bitSet !== (type !== COMPRESSION_ZLIB)) {
    fail(`compression_type is ${type}, which the compression type bit contradicts`);
  }
  if (type === COMPRESSION_ZLIB) return 'zlib';
  if (type === COMPRESSION_ZSTD) return 'zstd';
  return fail(`compression_type ${type} is not supported, only zlib (0) and zstd (1) are`);
}
