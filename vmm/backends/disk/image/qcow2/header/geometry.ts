import type { Header } from './header-fields.ts';
import { SUBCLUSTERS } from './layout.ts';

/** Constants of an open image that follow from its header. */
export interface Geometry {
  readonly version: number;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  /** Extended L2 entries: a cluster has 32 sub-clusters, which are allocated one by one. */
  readonly extendedL2: boolean;
  /** Guest clusters are in a separate file, at their guest offset, and have no refcounts. */
  readonly externalData: boolean;
  /** The data file alone has the guest's content, like a raw image. */
  readonly rawExternalData: boolean;
  readonly l2EntryBytes: number;
  readonly l2Entries: number;
  /** Guest bytes that one L2 table maps. */
  readonly tableSpanBytes: number;
  /** The unit in which space is mapped: a sub-cluster, or the cluster where there are none. */
  readonly subclusterBytes: number;
  readonly subclusters: number;
  readonly refcountBits: number;
  /** Clusters whose refcounts are in one refcount block. */
  readonly refcountBlockEntries: number;
}

export function geometryOf(header: Header): Geometry {
  const clusterBytes = 2 ** header.clusterBits;
  const extendedL2 = header.extendedL2;
  const l2EntryBytes = extendedL2 ? 16 : 8;
  const l2Entries = clusterBytes / l2EntryBytes;
  const subclusters = extendedL2 ? SUBCLUSTERS : 1;
  return {
    version: header.version,
    clusterBits: header.clusterBits,
    clusterBytes,
    extendedL2,
    externalData: header.externalDataFile,
    rawExternalData: header.rawExternalData,
    l2EntryBytes,
    l2Entries,
    tableSpanBytes: l2Entries * clusterBytes,
    subclusterBytes: clusterBytes / subclusters,
    subclusters,
    refcountBits: header.refcountBits,
    refcountBlockEntries: (clusterBytes * 8) / header.refcountBits,
  };
}
