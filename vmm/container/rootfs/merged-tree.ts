/**
 * The file tree that results from applying an image's layers in order: OCI image-spec, "Image Layer
 * Filesystem Changeset". It exists only in memory, so nothing in a layer can escape from it: `..`,
 * absolute names and links end at its root.
 *
 * Where the specification is silent, this follows containerd and umoci: names are resolved through
 * symbolic links of the image.
 */
import { TsvmError } from '../../errors.ts';
import { formatSize } from '../../util/size.ts';
import type { TarMember } from '../tar/reader.ts';
import { type Directory, type Inode, impliedDirectory, isDirectory } from './inode.ts';
import { badMember, NAME_BYTES_MAX, PATH_BYTES_MAX, splitLayerPath } from './layer-path.ts';

const WHITEOUT_PREFIX = '.wh.';
/** Prefix of AUFS's own files; only the mark of an opaque directory has a meaning. */
const WHITEOUT_META_PREFIX = '.wh..wh.';
const OPAQUE_MARK = '.wh..wh..opq';
/** The same limit as Linux's (path_resolution(7)). */
const SYMLINKS_MAX = 40;
const DEVICE_MAJOR_MAX = 0xfff;
const DEVICE_MINOR_MAX = 0xfffff;
/** Bounds the memory for members. */
const MEMBERS_MAX = 2 ** 21;
/** Bounds the memory for their names, link targets, attributes and sparse maps. */
const TEXT_BYTES_MAX = 2 ** 28;
const SPARSE_PART_BYTES = 64;

export class MergedTree {
  readonly root: Directory = impliedDirectory();
  #touched: Directory[] = [];
  #members = 0;
  #textBytes = 0;
  /** True for the lowest layer, in which whiteouts have no effect. */
  #isLowest = true;
  /**
   * The folder of the last member: the path up to its last slash, and the directory. Archives keep the
   * files of a folder together, so the next one is mostly there too. Empty if it may be stale.
   */
  #lastFolder = '';
  #lastParent: Directory = this.root;

  /**
   * Applies a layer.
   * @param layer its number; 0 is the lowest
   * @returns total size of its files in bytes
   * @throws TsvmError `invalid-image`
   */
  apply(members: Iterable<TarMember>, layer: number): number {
    this.#isLowest = layer === 0;
    this.#lastFolder = '';
    let bytes = 0;
    for (const member of members) {
      if (++this.#members > MEMBERS_MAX) {
        throw new TsvmError('invalid-image', `the image has more than ${MEMBERS_MAX} files`);
      }
      this.#textBytes += textBytes(member);
      if (this.#textBytes > TEXT_BYTES_MAX) {
        throw new TsvmError(
          'invalid-image',
          "the names and attributes of the image's files take more than " +
            `${formatSize(TEXT_BYTES_MAX)}: this is not supported`,
        );
      }
      if (member.kind === 'file') bytes += member.sizeBytes;
      this.#applyMember(member, layer);
    }
    for (const directory of this.#touched) directory.touched = undefined;
    this.#touched = [];
    return bytes;
  }

  #applyMember(member: TarMember, layer: number): void {
    const known = this.#nameInLastFolder(member.name);
    if (known !== '') {
      this.#put(this.#lastParent, known, member, layer);
      return;
    }
    const parts = splitLayerPath(member.name);
    const name = parts.pop();
    if (name === undefined) {
      if (member.kind !== 'directory') throw badMember(member.name, 'replaces the root');
      setAttributes(this.root, member);
      return;
    }
    if (name.startsWith(WHITEOUT_PREFIX)) {
      this.#lastFolder = '';
      this.#applyWhiteout(member, parts, name);
      return;
    }
    const parent = this.#enter(parts, member.name, true);
    const end = member.name.lastIndexOf('/') + 1;
    // Both "a/b/" and "a/b/." are in "a": the shortcut is only for plain names.
    this.#lastFolder = member.name.slice(end) === name ? member.name.slice(0, end) : '';
    this.#lastParent = parent;
    this.#put(parent, name, member, layer);
  }

  /** The plain name if the path is in the last member's folder, otherwise empty. */
  #nameInLastFolder(path: string): string {
    const at = path.lastIndexOf('/') + 1;
    if (at === 0 || at !== this.#lastFolder.length || path.length > PATH_BYTES_MAX) return '';
    if (!path.startsWith(this.#lastFolder)) return '';
    const name = path.slice(at);
    return name.startsWith('.') || name.length > NAME_BYTES_MAX ? '' : name;
  }

  #put(parent: Directory, name: string, member: TarMember, layer: number): void {
    const present = parent.entries.get(name);
    if (member.kind === 'directory' && present !== undefined && isDirectory(present)) {
      setAttributes(present, member);
    } else {
      // Paths through it now lead elsewhere.
      if (present?.kind === 'directory' || present?.kind === 'symlink') this.#lastFolder = '';
      const isLink = member.kind === 'hard-link';
      const inode = isLink ? this.#linked(member) : newInode(member, layer);
      parent.entries.set(name, inode);
    }
    this.#touch(parent, name);
  }

  #applyWhiteout(member: TarMember, parts: readonly string[], name: string): void {
    if (name === OPAQUE_MARK) {
      const directory = this.#find(parts, member.name);
      if (directory !== undefined && !this.#isLowest) clear(directory);
      return;
    }
    if (name.startsWith(WHITEOUT_META_PREFIX)) return;
    const hidden = name.slice(WHITEOUT_PREFIX.length);
    if (hidden === '' || hidden === '.' || hidden === '..') {
      throw badMember(member.name, 'is a whiteout of no name');
    }
    const parent = this.#find(parts, member.name);
    if (parent !== undefined && !this.#isLowest) hide(parent, hidden);
  }

  #linked(member: TarMember): Inode {
    const parts = splitLayerPath(member.linkName);
    const name = parts.pop();
    const inode =
      name === undefined ? this.root : this.#find(parts, member.name)?.entries.get(name);
    if (inode === undefined) throw badMember(member.name, 'is a hard link to a missing file');
    if (isDirectory(inode)) throw badMember(member.name, 'is a hard link to a directory');
    return inode;
  }

  /** The directory at a path. Missing directories are created. */
  #enter(parts: readonly string[], name: string, make: true): Directory;
  #enter(parts: readonly string[], name: string, make: false): Directory | undefined;
  #enter(parts: readonly string[], name: string, make: boolean): Directory | undefined {
    const todo = parts.toReversed();
    const path: Directory[] = [this.root];
    let links = 0;
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      const directory = path.at(-1) ?? this.root;
      if (part === '..') {
        if (path.length > 1) path.pop();
        continue;
      }
      const next = directory.entries.get(part);
      if (next?.kind === 'symlink') {
        if (++links > SYMLINKS_MAX) throw badMember(name, 'leads through too many links');
        const steps = next.target.split('/').filter((step) => step !== '' && step !== '.');
        if (next.target.startsWith('/')) path.length = 1;
        todo.push(...steps.reverse());
        continue;
      }
      if (next !== undefined && isDirectory(next)) {
        if (make) this.#touch(directory, part);
        path.push(next);
        continue;
      }
      if (!make) return undefined;
      if (next !== undefined) throw badMember(name, 'leads through something that is no directory');
      const made = impliedDirectory();
      directory.entries.set(part, made);
      this.#touch(directory, part);
      path.push(made);
    }
    return path.at(-1);
  }

  #find(parts: readonly string[], name: string): Directory | undefined {
    return this.#enter(parts, name, false);
  }

  #touch(directory: Directory, name: string): void {
    if (this.#isLowest) return;
    if (directory.touched === undefined) {
      directory.touched = new Set();
      this.#touched.push(directory);
    }
    directory.touched.add(name);
  }
}

/** Removes what lower layers have under a name; keeps what this layer adds, in whatever order. */
function hide(parent: Directory, name: string): void {
  const inode = parent.entries.get(name);
  if (inode === undefined) return;
  if (!parent.touched?.has(name)) parent.entries.delete(name);
  else if (isDirectory(inode)) clear(inode);
}

function clear(directory: Directory): void {
  const todo = [directory];
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    for (const [name, inode] of next.entries) {
      if (!next.touched?.has(name)) next.entries.delete(name);
      else if (isDirectory(inode)) todo.push(inode);
    }
  }
}

function textBytes({ linkName, name, sparse, xattrs }: TarMember): number {
  let bytes = name.length + linkName.length;
  if (sparse !== undefined) bytes += SPARSE_PART_BYTES * sparse.parts.length;
  if (xattrs !== undefined) for (const [key, value] of xattrs) bytes += key.length + value.length;
  return bytes;
}

function setAttributes(inode: Inode, member: TarMember): void {
  inode.mode = member.mode;
  inode.uid = member.uid;
  inode.gid = member.gid;
  inode.mtimeSeconds = member.mtimeSeconds;
  inode.mtimeNanoseconds = member.mtimeNanoseconds;
  inode.xattrs = member.xattrs;
}

function newInode(member: TarMember, layer: number): Inode {
  const { kind } = member;
  if (kind === 'hard-link') throw new Error('a hard link is no inode');
  if (kind === 'symlink' && member.linkName.length > PATH_BYTES_MAX) {
    throw badMember(member.name, 'is a link to a path of more than 4095 bytes');
  }
  if (kind === 'symlink' && member.linkName === '')
    throw badMember(member.name, 'is an empty link');
  const isDevice = kind === 'character-device' || kind === 'block-device';
  const { deviceMajor, deviceMinor } = member;
  if (isDevice && !isDeviceNumber(deviceMajor, deviceMinor)) {
    throw badMember(member.name, 'has a device number that Linux does not have');
  }
  return {
    kind,
    mode: member.mode,
    uid: member.uid,
    gid: member.gid,
    mtimeSeconds: member.mtimeSeconds,
    mtimeNanoseconds: member.mtimeNanoseconds,
    xattrs: member.xattrs,
    sizeBytes: kind === 'file' ? member.sizeBytes : 0,
    layer,
    dataOffset: member.dataOffset,
    sparse: member.sparse,
    target: kind === 'symlink' ? member.linkName : '',
    deviceMajor: isDevice ? deviceMajor : 0,
    deviceMinor: isDevice ? deviceMinor : 0,
    entries: kind === 'directory' ? new Map() : undefined,
    touched: undefined,
    links: 0,
    nid: 0,
  };
}

function isDeviceNumber(major: number, minor: number): boolean {
  return major >= 0 && major <= DEVICE_MAJOR_MAX && minor >= 0 && minor <= DEVICE_MINOR_MAX;
}
