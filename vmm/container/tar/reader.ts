/**
 * Reads tar archives as layers and image archives are: names and values as bytes, and where the data
 * of each member is, which no reader of npm's tells. All of ustar, pax and GNU tar's own formats.
 *
 * Names, link names and the values of extended attributes are latin1 strings: a character a byte.
 */
import { ByteWindow } from './byte-window.ts';
import {
  isZeroBlock,
  malformed,
  parseTarHeader,
  TAR_BLOCK_BYTES,
  type TarHeader,
} from './header.ts';
import { parsePaxRecords, paxInteger, paxTime } from './pax.ts';
import { oldSparseMap, paxSparseMap, type SparseMap } from './sparse.ts';

export type TarKind =
  | 'file'
  | 'directory'
  | 'symlink'
  | 'hard-link'
  | 'character-device'
  | 'block-device'
  | 'fifo';

export interface TarMember {
  readonly kind: TarKind;
  readonly name: string;
  /** Of a link: its target. */
  readonly linkName: string;
  /** Permissions, with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** Bytes of a file, without those that a sparse file has no data for. */
  readonly sizeBytes: number;
  /** Where a file's data begins in the archive: a multiple of 512 unless it is sparse. */
  readonly dataOffset: number;
  readonly sparse: SparseMap | undefined;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly xattrs: ReadonlyMap<string, string> | undefined;
}

const KINDS: Readonly<Record<string, TarKind>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'hard-link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'file',
};
/** Longer headers than this are no one's: Go's reader has the same limit. */
const EXTENDED_BYTES_MAX = 2 ** 20;
/** Most are in the window already. */
const VIEW_BYTES_MAX = 16_384;
const ID_MAX = 2 ** 32 - 1;
const XATTR_PREFIX = 'SCHILY.xattr.';

/** What the headers before a member's own say about it. */
interface Extensions {
  longName: string | undefined;
  longLink: string | undefined;
  records: [string, string][];
}

/**
 * The members of an archive. What follows its end is not looked at.
 * @param fd open for reading; stays its opener's
 * @throws TsvmError `invalid-image`
 */
export function* readTar(fd: number): Generator<TarMember> {
  const window = new ByteWindow(fd);
  let extensions: Extensions = { longName: undefined, longLink: undefined, records: [] };
  for (let offset = 0; offset < window.sizeBytes; ) {
    const block = window.view(offset, TAR_BLOCK_BYTES);
    if (block.length < TAR_BLOCK_BYTES) throw malformed('it is cut off in a header');
    if (isZeroBlock(block)) return;
    const header = parseTarHeader(block);
    const dataOffset = offset + TAR_BLOCK_BYTES;
    if (isExtension(header.type)) {
      offset = nextHeader(window, dataOffset, header.sizeBytes);
      readExtension(window, dataOffset, header, extensions);
      continue;
    }
    const { member, end } = readMember(window, offset, header, extensions);
    offset = end;
    extensions = { longName: undefined, longLink: undefined, records: [] };
    if (member !== undefined) yield member;
  }
}

function isExtension(type: string): boolean {
  return 'xgLK'.includes(type);
}

/** @throws when the data is not all there */
function nextHeader(window: ByteWindow, dataOffset: number, sizeBytes: number): number {
  const end = dataOffset + sizeBytes;
  if (end > window.sizeBytes) throw malformed('it is cut off in a member');
  return dataOffset + Math.ceil(sizeBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
}

function readExtension(
  window: ByteWindow,
  dataOffset: number,
  { type, sizeBytes }: TarHeader,
  extensions: Extensions,
): void {
  // "Global": comments, in practice. Docker does not apply them either.
  if (type === 'g') return;
  if (sizeBytes > EXTENDED_BYTES_MAX) throw malformed('an extended header is too long');
  const isShort = sizeBytes <= VIEW_BYTES_MAX;
  const bytes = isShort ? window.view(dataOffset, sizeBytes) : window.copy(dataOffset, sizeBytes);
  if (type === 'x') extensions.records = parsePaxRecords(bytes);
  else if (type === 'L') extensions.longName = untilNul(bytes);
  else extensions.longLink = untilNul(bytes);
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

function readMember(
  window: ByteWindow,
  offset: number,
  header: TarHeader,
  extensions: Extensions,
): { readonly member: TarMember | undefined; readonly end: number } {
  const values = paxValues(extensions.records);
  const name = values.path ?? extensions.longName ?? header.name;
  const kind = kindOf(header.type, name);
  const dataOffset = offset + TAR_BLOCK_BYTES;
  const isFile = kind === 'file' || kind === undefined;
  // Only files have data, whatever the size of others says.
  const storedBytes = isFile ? (values.sizeBytes ?? header.sizeBytes) : 0;
  let end = nextHeader(window, dataOffset, storedBytes);
  // The label of a volume, and the like.
  if (kind === undefined) return { member: undefined, end };
  let sparse: SparseMap | undefined;
  let sparseName: string | undefined;
  if (header.type === 'S') {
    const block = Buffer.from(window.view(offset, TAR_BLOCK_BYTES));
    const old = oldSparseMap(block, { window, offset: dataOffset, length: storedBytes });
    sparse = old.map;
    end = nextHeader(window, dataOffset, old.extraBytes + storedBytes);
  } else if (kind === 'file' && extensions.records.length > 0) {
    const data = { window, offset: dataOffset, length: storedBytes };
    const pax = paxSparseMap(extensions.records, data);
    sparse = pax?.map;
    sparseName = pax?.name;
  }
  const member: TarMember = {
    kind,
    name: checkedName(sparseName ?? name),
    linkName: checkedName(values.linkPath ?? extensions.longLink ?? header.linkName),
    mode: header.mode & 0o7777,
    uid: checkedId(values.uid ?? header.uid),
    gid: checkedId(values.gid ?? header.gid),
    mtimeSeconds: values.mtime?.seconds ?? header.mtimeSeconds,
    mtimeNanoseconds: values.mtime?.nanoseconds ?? 0,
    sizeBytes: sparse?.sizeBytes ?? storedBytes,
    dataOffset,
    sparse,
    deviceMajor: header.deviceMajor,
    deviceMinor: header.deviceMinor,
    xattrs: values.xattrs,
  };
  return { member, end };
}

function kindOf(type: string, name: string): TarKind | undefined {
  if (type === 'V' || type === 'M' || type === 'D') return undefined;
  const kind = Object.hasOwn(KINDS, type) ? KINDS[type] : undefined;
  if (kind === undefined)
    throw malformed(`a member is of an unknown type: ${JSON.stringify(type)}`);
  // Before POSIX a directory was a file whose name ends in a slash.
  return kind === 'file' && type !== '7' && name.endsWith('/') ? 'directory' : kind;
}

interface PaxValues {
  path?: string;
  linkPath?: string;
  sizeBytes?: number;
  uid?: number;
  gid?: number;
  mtime?: { readonly seconds: number; readonly nanoseconds: number };
  xattrs?: Map<string, string>;
}

/** An empty value is as good as none. */
function paxValues(records: readonly (readonly [string, string])[]): PaxValues {
  const values: PaxValues = {};
  for (const [key, value] of records) {
    if (value === '') continue;
    if (key.startsWith(XATTR_PREFIX)) {
      values.xattrs ??= new Map();
      values.xattrs.set(key.slice(XATTR_PREFIX.length), value);
    }
    if (key === 'path') values.path = value;
    else if (key === 'linkpath') values.linkPath = value;
    else if (key === 'uid') values.uid = paxInteger(value, 'a user ID');
    else if (key === 'gid') values.gid = paxInteger(value, 'a group ID');
    else if (key === 'mtime') values.mtime = paxTime(value);
    else if (key === 'size') {
      values.sizeBytes = paxInteger(value, 'a size');
      if (values.sizeBytes < 0) throw malformed('a size is negative');
    }
  }
  return values;
}

function checkedName(name: string): string {
  if (name.includes('\0')) throw malformed('a name has a NUL in it');
  return name;
}

function checkedId(id: number): number {
  if (id < 0 || id > ID_MAX) throw malformed('a user or group ID is out of range');
  return id;
}
