import type { TarKind } from '../tar/reader.ts';
import type { SparseMap } from '../tar/sparse.ts';

/** What a name in the merged tree stands for; several names may stand for one. */
export interface Inode {
  readonly kind: Exclude<TarKind, 'hard-link'>;
  /** Permissions, with setuid, setgid and sticky: 0 to 0o7777. */
  mode: number;
  uid: number;
  gid: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  xattrs: ReadonlyMap<string, string> | undefined;
  /** Of a file. */
  readonly sizeBytes: number;
  /** The layer that a file's data is in, from 0, the lowest; and where in its archive. */
  readonly layer: number;
  readonly dataOffset: number;
  readonly sparse: SparseMap | undefined;
  /** Of a symbolic link; bytes, as latin1. */
  readonly target: string;
  /** Of a device. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Of a directory. Names are bytes, as latin1. */
  readonly entries: Map<string, Inode> | undefined;
  /** Of a directory: names that the layer that is being applied has set, or gone through. */
  touched: Set<string> | undefined;
  /** Names that it has, set when the tree is complete; of a directory, those in directories. */
  links: number;
  /** Where its inode lies in the metadata image, in units of 32 bytes; 0 while it has no place. */
  nid: number;
}

export type Directory = Inode & { readonly entries: Map<string, Inode> };

export function isDirectory(inode: Inode): inode is Directory {
  return inode.entries !== undefined;
}

/** A directory that no layer describes: as `mkdir -p` would make it, at the beginning of time. */
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
