/** Validates a header before anything is read according to it. */
import { incompatibleFeatureName } from './feature-names.ts';
import type { Fail, HeaderExtension } from './header-extensions.ts';
import type { Header } from './header-fields.ts';
import {
  EXTENDED_L2_CLUSTER_BITS_MIN,
  Incompatible,
  L1_BYTES_MAX,
  REFCOUNT_TABLE_BYTES_MAX,
  SNAPSHOT_ENTRY_BYTES_MIN,
  SNAPSHOTS_MAX,
} from './layout.ts';

const KNOWN_INCOMPATIBLE = Object.values(Incompatible).reduce((all, bit) => all | bit, 0n);
/** "An implementation must fail to open an image if an unknown bit is set." */
export function refuseUnknownFeatures(
  incompatible: bigint,
  extensions: readonly HeaderExtension[],
  fail: Fail,
): void {
  const unknown = incompatible & ~KNOWN_INCOMPATIBLE;
  if (unknown === 0n) return;
  const names = Array.from({ length: 64 }, (_, bit) => bit)
    .filter((bit) => (unknown >> BigInt(bit)) & 1n)
    .map((bit) => {
      const name = incompatibleFeatureName(bit, extensions);
      return name === undefined ? `incompatible feature bit ${bit}` : `"${name}" (bit ${bit})`;
    });
  fail(`the image uses features that are not supported: ${names.join(', ')}`);
}

interface Table {
  readonly name: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Checks the fields against each other and against the file's size. */
export function checkHeader(header: Header, fileBytes: number, fail: Fail): void {
  const clusterBytes = 2 ** header.clusterBits;
  if (header.extendedL2 && header.clusterBits < EXTENDED_L2_CLUSTER_BITS_MIN) {
    fail(`cluster_bits is ${header.clusterBits}, too small for extended L2 entries`);
  }
  const l2Entries = clusterBytes / (header.extendedL2 ? 16 : 8);
  const l1EntriesNeeded = Math.ceil(header.sizeBytes / (l2Entries * clusterBytes));
  if (header.l1Entries < l1EntriesNeeded) {
    fail(`l1_size is ${header.l1Entries}: ${l1EntriesNeeded} entries are needed for the size`);
  }
  if (header.l1Entries * 8 > L1_BYTES_MAX) fail(`l1_size is too large: ${header.l1Entries}`);
  if (header.refcountTableClusters === 0) fail('refcount_table_clusters is 0');
  if (header.refcountTableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX) {
    fail(`refcount_table_clusters is too large: ${header.refcountTableClusters}`);
  }
  if (header.snapshotCount > SNAPSHOTS_MAX) {
    fail(`nb_snapshots is too large: ${header.snapshotCount}`);
  }
  checkExternalData(header, fail);
  const tables = tablesOf(header);
  for (const table of tables) checkTable(table, clusterBytes, fileBytes, fail);
  checkOverlap(tables, clusterBytes, fail);
}

function checkExternalData(header: Header, fail: Fail): void {
  if (!header.externalDataFile) return;
  if (header.snapshotCount > 0)
    fail('it has snapshots, which are not possible with an external data file');
  if (header.rawExternalData && header.backingName !== undefined) {
    fail('it has a backing file, which is not possible with a raw external data file');
  }
}

function tablesOf(header: Header): Table[] {
  const tables = [
    { name: 'l1_table', offset: header.l1Offset, bytes: header.l1Entries * 8 },
    {
      name: 'refcount_table',
      offset: header.refcountTableOffset,
      bytes: header.refcountTableClusters * 2 ** header.clusterBits,
    },
    {
      name: 'snapshots',
      offset: header.snapshotsOffset,
      bytes: header.snapshotCount * SNAPSHOT_ENTRY_BYTES_MIN,
    },
  ];
  return tables.filter(({ bytes }) => bytes > 0);
}

function checkTable(
  { name, offset, bytes }: Table,
  clusterBytes: number,
  fileBytes: number,
  fail: Fail,
): void {
  if (offset === 0 || offset % clusterBytes !== 0) {
    fail(`${name}_offset is not the start of a cluster: ${offset}`);
  }
  // A file may end inside its last cluster. An L1 table without entries may be missing: writers
  // that leave out zeroes make such files, and QEMU opens them.
  const missing = name === 'l1_table' ? L1_BYTES_MAX : 0;
  const fileEnd = Math.ceil(fileBytes / clusterBytes) * clusterBytes;
  if (offset + bytes > fileEnd + missing) {
    fail(`${name}_offset and its size extend past the end of the file: ${offset} + ${bytes}`);
  }
}

/** The header's cluster is protected, since offsets are not 0. */
function checkOverlap(tables: readonly Table[], clusterBytes: number, fail: Fail): void {
  const sorted = tables.toSorted((a, b) => a.offset - b.offset);
  let previous: Table | undefined;
  for (const table of sorted) {
    if (previous !== undefined) {
      const end = previous.offset + Math.ceil(previous.bytes / clusterBytes) * clusterBytes;
      if (table.offset < end) fail(`${previous.name}_offset and ${table.name}_offset overlap`);
    }
    previous = table;
  }
}
