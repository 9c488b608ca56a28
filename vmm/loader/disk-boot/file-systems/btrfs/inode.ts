import { decodeBytes } from '../../../../util/byte-names.ts';
import { once } from '../../../../util/once.ts';
import type { Volume } from '../../disk-source.ts';
import type { Fields } from '../../fields.ts';
import { type DirectoryEntry, type Inode, type InodeKind, kindOfMode } from '../file-system.ts';
import { type ExtentReader, extentBytes } from './file-extents.ts';
import type { TreeRoot } from './superblock.ts';
import { type Key, readKey, type TreeReader } from './tree.ts';

const TYPE_INODE_ITEM = 1;
const TYPE_DIR_INDEX = 96;
const TYPE_EXTENT_DATA = 108;
const TYPE_ROOT_ITEM = 132;
const ROOT_DIRECTORY = 256n;
const ENTRIES_MAX = 2 ** 17;
/** A file of 1 GiB in extents of 4 KiB. */
const EXTENTS_MAX = 2 ** 18;

/** A file system with its subvolumes. */
export interface Subvolumes {
  readonly volume: Volume;
  readonly trees: TreeReader;
  readonly extents: ExtentReader;
  rootOf(id: bigint): TreeRoot;
}

interface Extent {
  /** Its offset in the file. */
  readonly start: number;
  readonly data: Fields;
}

interface Entry extends DirectoryEntry {
  readonly location: Key;
}

/** An inode of a subvolume: `struct btrfs_inode_item`. */
export class BtrfsInode implements Inode {
  readonly kind: InodeKind;
  readonly sizeBytes: number;
  readonly entries: () => readonly Entry[];
  readonly #subvolumes: Subvolumes;
  readonly #root: TreeRoot;
  readonly #number: bigint;
  readonly #extents: () => readonly Extent[];

  constructor(subvolumes: Subvolumes, root: TreeRoot, number: bigint) {
    this.#subvolumes = subvolumes;
    this.#root = root;
    this.#number = number;
    const [item] = subvolumes.trees.items(root, number, TYPE_INODE_ITEM);
    if (item === undefined) throw subvolumes.volume.invalid(`there is no inode ${number}`);
    this.kind = kindOfMode(item.data.u32(52));
    this.sizeBytes = item.data.u64(16);
    this.entries = once(() => this.#readEntries());
    this.#extents = once(() => this.#readExtents());
  }

  read(offset: number, length: number): Uint8Array {
    const { extents } = this.#subvolumes;
    const target = new Uint8Array(length);
    for (const { start, data } of this.#extents()) {
      if (start >= offset + length) break;
      extents.copy(data, start, target, offset, `inode ${this.#number}`);
    }
    return target;
  }

  #readExtents(): Extent[] {
    const { trees, volume } = this.#subvolumes;
    const found: Extent[] = [];
    let end = 0;
    for (const { key, data } of trees.items(this.#root, this.#number, TYPE_EXTENT_DATA)) {
      if (found.length === EXTENTS_MAX) {
        throw volume.invalid(`inode ${this.#number} has more than ${EXTENTS_MAX} extents`);
      }
      const start = Number(key.offset);
      if (start < end) throw volume.invalid(`inode ${this.#number}: extents overlap`);
      end = start + extentBytes(data);
      found.push({ start, data });
    }
    return found;
  }

  /** A subvolume right in this directory. */
  subvolume(name: string): Inode | undefined {
    const entry = this.entries().find((candidate) => candidate.name === name);
    return entry?.location.type === TYPE_ROOT_ITEM ? entry.open() : undefined;
  }

  /** `struct btrfs_dir_item`. */
  #readEntries(): readonly Entry[] {
    const { trees, volume } = this.#subvolumes;
    const found: Entry[] = [];
    for (const { data } of trees.items(this.#root, this.#number, TYPE_DIR_INDEX)) {
      if (found.length === ENTRIES_MAX) {
        throw volume.invalid(`a directory of more than ${ENTRIES_MAX} entries is too large`);
      }
      const location = readKey(data, 0);
      const name = decodeBytes(data.slice(30, data.u16(27)));
      found.push({ name, location, open: once(() => this.#open(location)) });
    }
    return found;
  }

  #open({ objectId, type }: Key): Inode {
    if (type !== TYPE_ROOT_ITEM) return new BtrfsInode(this.#subvolumes, this.#root, objectId);
    const root = this.#subvolumes.rootOf(objectId);
    return new BtrfsInode(this.#subvolumes, root, ROOT_DIRECTORY);
  }
}
