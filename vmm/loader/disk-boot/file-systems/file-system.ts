/** What readers of file systems have in common. All of them only read. */

export type InodeKind = 'file' | 'directory' | 'symlink' | 'other';

/** A file, directory or symbolic link. @throws TsvmError `invalid-disk` from each method */
export interface Inode {
  readonly kind: InodeKind;
  readonly sizeBytes: number;
  /** Content of a file or target of a link. The range is inside the file; the caller bounds it. */
  read(offset: number, length: number): Uint8Array;
  /** A directory's entries, without "." and "..". */
  entries(): readonly DirectoryEntry[];
}

export interface DirectoryEntry {
  /** Bytes as `util/byte-names.ts` decodes them. */
  readonly name: string;
  /** The same object every time, so that its entries are read once. */
  open(): Inode;
}

/** A directory where a system's root or a boot loader's paths may begin. */
export interface Root {
  readonly inode: Inode;
  /** For btrfs: the subvolume for `rootflags=subvol=`, when it is not the default one. */
  readonly subvolume?: string;
}

export interface FileSystem {
  /** As in `mount -t`. */
  readonly type: 'btrfs' | 'ext4' | 'vfat' | 'xfs';
  /** As blkid(8) prints it. */
  readonly uuid: string;
  readonly label: string;
  readonly ignoresCase: boolean;
  /** The first is where GRUB's paths begin. All but btrfs have one. */
  readonly roots: readonly [Root, ...Root[]];
}

/** The kind of an inode by its mode: inode(7). */
export function kindOfMode(mode: number): InodeKind {
  switch (mode & 0o170000) {
    case 0o100000:
      return 'file';
    case 0o040000:
      return 'directory';
    case 0o120000:
      return 'symlink';
    default:
      return 'other';
  }
}
