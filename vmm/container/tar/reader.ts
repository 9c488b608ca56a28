/**
 * Reads tar archives in ustar, pax and GNU tar's formats. It returns the place of each member's data,
 * which no npm package does.
 *
 * Names, link names and the values of extended attributes are bytes as latin1 strings.
 */
import { ByteWindow } from './byte-window.ts';
import {
  checkTarHeader,
  type HeaderKind,
  isZeroBlock,
  malformed,
  parseTarHeader,
  TAR_BLOCK_BYTES,
  type TarHeader,
} from './header.ts';
import { NO_PAX_VALUES, type PaxValues, parsePaxRecords } from './pax.ts';
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
  /** Target of a link. */
  readonly linkName: string;
  /** Permissions, with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  /** Size of a file's data in bytes; for a sparse file without its holes. */
  readonly sizeBytes: number;
  /** Offset of a file's data in the archive, a multiple of 512 unless it is sparse. */
  readonly dataOffset: number;
  readonly sparse: SparseMap | undefined;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly xattrs: ReadonlyMap<string, string> | undefined;
}

const code = (letter: string) => letter.charCodeAt(0);
const TYPE_PAX = code('x');
const TYPE_PAX_GLOBAL = code('g');
const TYPE_LONG_NAME = code('L');
const TYPE_LONG_LINK = code('K');
const TYPE_SPARSE = code('S');
const TYPE_CONTIGUOUS = code('7');

/** By the code of the type's letter. `skipped`: the label of a volume, and the like. */
const KINDS: readonly (TarKind | 'skipped' | undefined)[] = (() => {
  const kinds: (TarKind | 'skipped' | undefined)[] = new Array(256).fill(undefined);
  kinds[0] = 'file';
  for (const letter of '07S') kinds[code(letter)] = 'file';
  kinds[code('1')] = 'hard-link';
  kinds[code('2')] = 'symlink';
  kinds[code('3')] = 'character-device';
  kinds[code('4')] = 'block-device';
  kinds[code('5')] = 'directory';
  kinds[code('6')] = 'fifo';
  for (const letter of 'VMD') kinds[code(letter)] = 'skipped';
  return kinds;
})();
/** Bound of a header's length; Go's reader has the same limit. */
const EXTENDED_BYTES_MAX = 2 ** 20;
/** Extended headers up to this size, which is most, are parsed in the window, without a copy. */
const VIEW_BYTES_MAX = 16_384;
const ID_MAX = 2 ** 32 - 1;

/** The fields that the headers before a member's own header set. */
interface Extensions {
  longName: string | undefined;
  longLink: string | undefined;
  pax: Readonly<PaxValues>;
}

/**
 * The members of an archive. Data after its end is ignored.
 * @param fd open for reading; not closed
 * @throws TsvmError `invalid-image`
 */
export function* readTar(fd: number): Generator<TarMember> {
  const window = new ByteWindow(fd);
  const { bytes, words } = window;
  const extensions: Extensions = { longName: undefined, longLink: undefined, pax: NO_PAX_VALUES };
  for (let offset = 0; offset < window.sizeBytes; ) {
    const at = window.locate(offset, TAR_BLOCK_BYTES);
    if (at < 0) throw malformed('it is cut off in a header');
    if (isZeroBlock(words, at)) return;
    const kind = checkTarHeader(bytes, words, at);
    if (isExtension(kind.type)) {
      const dataOffset = offset + TAR_BLOCK_BYTES;
      offset = nextHeader(window, dataOffset, kind.sizeBytes);
      readExtension(window, dataOffset, kind, extensions);
      continue;
    }
    const header = parseTarHeader(bytes, at);
    const { member, end } = readMember(window, offset, kind, header, extensions);
    offset = end;
    extensions.longName = undefined;
    extensions.longLink = undefined;
    extensions.pax = NO_PAX_VALUES;
    if (member !== undefined) yield member;
  }
}

function isExtension(type: number): boolean {
  return (
    type === TYPE_PAX ||
    type === TYPE_PAX_GLOBAL ||
    type === TYPE_LONG_NAME ||
    type === TYPE_LONG_LINK
  );
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
  { type, sizeBytes }: HeaderKind,
  extensions: Extensions,
): void {
  // In practice, global headers contain comments. Docker ignores them too.
  if (type === TYPE_PAX_GLOBAL) return;
  if (sizeBytes > EXTENDED_BYTES_MAX) throw malformed('an extended header is too long');
  const isShort = sizeBytes <= VIEW_BYTES_MAX;
  const bytes = isShort ? window.bytes : window.copy(dataOffset, sizeBytes);
  const start = isShort ? window.locate(dataOffset, sizeBytes) : 0;
  const end = start + sizeBytes;
  if (type === TYPE_PAX) extensions.pax = parsePaxRecords(bytes, start, end);
  else if (type === TYPE_LONG_NAME) extensions.longName = untilNul(bytes, start, end);
  else extensions.longLink = untilNul(bytes, start, end);
}

function untilNul(bytes: Buffer, start: number, limit: number): string {
  const end = bytes.indexOf(0, start);
  return bytes.toString('latin1', start, end < 0 || end > limit ? limit : end);
}

function readMember(
  window: ByteWindow,
  offset: number,
  { sizeBytes, type }: HeaderKind,
  header: TarHeader,
  { longLink, longName, pax }: Extensions,
): { readonly member: TarMember | undefined; readonly end: number } {
  const name = pax.path ?? longName ?? header.name;
  const kind = kindOf(type, name);
  const dataOffset = offset + TAR_BLOCK_BYTES;
  const isFile = kind === 'file' || kind === 'skipped';
  // Only files have data; the size of other members is ignored.
  const storedBytes = isFile ? (pax.sizeBytes ?? sizeBytes) : 0;
  let end = nextHeader(window, dataOffset, storedBytes);
  if (kind === 'skipped') return { member: undefined, end };
  let sparse: SparseMap | undefined;
  let sparseName: string | undefined;
  if (type === TYPE_SPARSE) {
    const block = Buffer.from(window.view(offset, TAR_BLOCK_BYTES));
    const old = oldSparseMap(block, { window, offset: dataOffset, length: storedBytes });
    sparse = old.map;
    end = nextHeader(window, dataOffset, old.extraBytes + storedBytes);
  } else if (kind === 'file' && pax.sparse !== undefined) {
    const data = { window, offset: dataOffset, length: storedBytes };
    const found = paxSparseMap(pax.sparse, data);
    sparse = found?.map;
    sparseName = found?.name;
  }
  const member: TarMember = {
    kind,
    name: checkedName(sparseName ?? name),
    linkName: checkedName(pax.linkPath ?? longLink ?? header.linkName),
    mode: header.mode & 0o7777,
    uid: checkedId(pax.uid ?? header.uid),
    gid: checkedId(pax.gid ?? header.gid),
    mtimeSeconds: pax.mtimeSeconds ?? header.mtimeSeconds,
    mtimeNanoseconds: pax.mtimeNanoseconds,
    sizeBytes: sparse?.sizeBytes ?? storedBytes,
    dataOffset,
    sparse,
    deviceMajor: header.deviceMajor,
    deviceMinor: header.deviceMinor,
    xattrs: pax.xattrs,
  };
  return { member, end };
}

function kindOf(type: number, name: string): TarKind | 'skipped' {
  const kind = KINDS[type];
  if (kind === undefined) {
    throw malformed(`a member is of an unknown type: ${JSON.stringify(String.fromCharCode(type))}`);
  }
  // Before POSIX a directory was a file whose name ends in a slash.
  return kind === 'file' && type !== TYPE_CONTIGUOUS && name.endsWith('/') ? 'directory' : kind;
}

function checkedName(name: string): string {
  if (name.includes('\0')) throw malformed('a name has a NUL in it');
  return name;
}

function checkedId(id: number): number {
  if (id < 0 || id > ID_MAX) throw malformed('a user or group ID is out of range');
  return id;
}
