/**
 * Constants of the qcow2 format: QEMU's docs/interop/qcow2.txt; each group names its section. All
 * fields are big-endian.
 */

/** "QFI\xfb". */
export const QCOW2_MAGIC = 0x514649fb;

/** Section "Header": byte offsets of the fields. */
export const HeaderField = {
  magic: 0,
  version: 4,
  backing_file_offset: 8,
  backing_file_size: 16,
  cluster_bits: 20,
  size: 24,
  crypt_method: 32,
  l1_size: 36,
  l1_table_offset: 40,
  refcount_table_offset: 48,
  refcount_table_clusters: 56,
  nb_snapshots: 60,
  snapshots_offset: 64,
  incompatible_features: 72,
  compatible_features: 80,
  autoclear_features: 88,
  refcount_order: 96,
  header_length: 100,
  compression_type: 104,
} as const;

/** A version 2 header ends here; the header extensions follow. */
export const V2_HEADER_BYTES = 72;
/**
 * The minimal length of a version 3 header, and its length with `compression_type`, padded to 8.
 */
export const V3_HEADER_BYTES_MIN = 104;
export const V3_HEADER_BYTES = 112;
/** Fields after `compression_type`, which is one byte. */
export const UNKNOWN_FIELDS_OFFSET = 105;

/** Section "Header", incompatible_features: bits. */
export const Incompatible = {
  DIRTY: 1n << 0n,
  CORRUPT: 1n << 1n,
  EXTERNAL_DATA_FILE: 1n << 2n,
  COMPRESSION_TYPE: 1n << 3n,
  EXTENDED_L2: 1n << 4n,
} as const;

/** compatible_features. */
export const Compatible = { LAZY_REFCOUNTS: 1n << 0n } as const;

/** autoclear_features. */
export const Autoclear = { BITMAPS: 1n << 0n, RAW_EXTERNAL_DATA: 1n << 1n } as const;

/** compression_type. */
export const COMPRESSION_ZLIB = 0;
export const COMPRESSION_ZSTD = 1;

/** Section "Header extensions": types. */
export const ExtensionType = {
  END: 0x00000000,
  BACKING_FORMAT: 0xe2792aca,
  FEATURE_NAMES: 0x6803f857,
  BITMAPS: 0x23852875,
  ENCRYPTION_HEADER: 0x0537be77,
  EXTERNAL_DATA_FILE_NAME: 0x44415441,
} as const;

export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
/** Extended L2 entries need 32 sub-clusters of at least 512 bytes. */
export const EXTENDED_L2_CLUSTER_BITS_MIN = 14;
export const SUBCLUSTERS = 32;
export const REFCOUNT_ORDER_MAX = 6;
/** The longest backing file name, in bytes. */
export const BACKING_NAME_BYTES_MAX = 1023;
/** QEMU's limits of the L1 table and the refcount table, in bytes. */
export const L1_BYTES_MAX = 32 * 2 ** 20;
export const REFCOUNT_TABLE_BYTES_MAX = 8 * 2 ** 20;
export const SNAPSHOTS_MAX = 65_536;
/** A snapshot table entry without its variable part. */
export const SNAPSHOT_ENTRY_BYTES_MIN = 40;
/** QEMU's limits on bitmaps: how many, and bytes of one's entry in the bitmap directory. */
export const BITMAPS_MAX = 65_535;
export const BITMAP_ENTRY_BYTES_MAX = 1024 + 64;

/**
 * Sections "L1 table entry", "L2 table entry", "Standard Cluster Descriptor". An entry is handled
 * as two 32-bit words, which JavaScript processes at full speed: flags in the high word…
 */
export const HIGH_COPIED = 0x8000_0000;
export const HIGH_COMPRESSED = 0x4000_0000;
/** …bits 32 to 55 of the host offset… */
export const HIGH_OFFSET_MASK = 0x00ff_ffff;
/** …bits 9 to 31 of it… */
export const LOW_OFFSET_MASK = 0xffff_fe00;
/** …and, in version 3 without extended L2 entries, that the cluster reads as zeroes. */
export const LOW_ZERO = 0x0000_0001;
