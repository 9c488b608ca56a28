import type { TarKind } from '../tar/reader.ts';
import type { SparseMap } from '../tar/sparse.ts';

/** A file, directory or other object of the merged tree. Several names may refer to it. */
export interface Inode {
  readonly kind: Exclude<TarKind, 'hard-link'>;
  /** Permissions, with setuid, setgid and sticky: 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  xattrs: ReadonlyMap<string, string> | undefined;
  /** Size of a file in bytes. */
  readonly sizeBytes: number;
  /** The layer with a file's data (0 is the lowest), and the offset in its archive. */
  readonly layer: number;
  readonly dataOffset: number;
  readonly sparse: SparseMap | undefined;
  /** Target of a symbolic link; bytes as latin1. */
  readonly target: string;
  /** Of a device. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Entries of a directory. Names are bytes as latin1. */
  readonly entries: Map<string, Inode> | undefined;
  /** For a directory: names that the current layer has set or passed through. */
  touched: Set<string> | undefined;
  /** Number of links, set when the tree is complete. */
  links: number;
  /** Place of the inode in the metadata image, in units of 32 bytes; 0 if it has none yet. */
  nid: number;
}

export type Directory = Inode & { readonly entries: Map<string, Inode> };

export function isDirectory(inode: Inode): inode is Directory {
  return inode.entries !== undefined;
}

/** A directory that no layer describes: as created by `mkdir -p`, with time 0. */
export function impliedDirectory(): Directory {
  return {
    kind: 'directory',
    mode: 0o755,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    xattrs: undefined,
    sizeBytes: 0,
    layer: 0,
    dataOffset: 0,
    sparse: undefined,
    target: '',
    deviceMajor: 0,
    deviceMinor: 0,
    entries: new Map(),
    touched: undefined,
    links: 0,
    nid: 0,
  };
}
