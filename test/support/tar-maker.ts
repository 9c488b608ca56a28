/** Tar archives, valid or not, member by member. Names are bytes, as latin1. */

export interface MadeMember {
  readonly name: string;
  /**
   * The type flag: '0' file, '1' hard link, '2' symbolic link, '3' and '4' devices, '5' directory, '6'
   * FIFO.
   */
  readonly type?: string;
  readonly data?: Uint8Array | string;
  readonly linkName?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly device?: readonly [major: number, minor: number];
  /** Records of a preceding extended header, which long names are added to. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Size in the header, independent of `data`. */
  readonly size?: number;
  /** Changes the finished header, before the checksum is calculated. */
  readonly spoil?: (header: Buffer) => void;
  /** Keeps the checksum from before `spoil`. */
  readonly keepChecksum?: boolean;
}

const BLOCK = 512;

function octal(value: number, digits: number): string {
  return `${value.toString(8).padStart(digits, '0')}\0`;
}

function padded(data: Uint8Array): Buffer {
  return Buffer.concat([data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

export function checksum(header: Buffer): void {
  header.write('        ', 148, 'latin1');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
}

function paxRecord(key: string, value: string): Buffer {
  const body = Buffer.from(` ${key}=${value}\n`, 'latin1');
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length++;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

function header(member: MadeMember, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const { type = '0', uid = 0, gid = 0 } = member;
  const mode = member.mode ?? (type === '5' ? 0o755 : 0o644);
  block.write(member.name.slice(0, 100), 0, 'latin1');
  block.write(octal(mode, 7), 100, 'latin1');
  block.write(octal(Math.min(uid, 0o7777777), 7), 108, 'latin1');
  block.write(octal(Math.min(gid, 0o7777777), 7), 116, 'latin1');
  block.write(octal(member.size ?? size, 11), 124, 'latin1');
  block.write(octal(Math.max(0, Math.floor(member.mtime ?? 0)), 11), 136, 'latin1');
  block.write(type, 156, 'latin1');
  block.write((member.linkName ?? '').slice(0, 100), 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  const [major, minor] = member.device ?? [0, 0];
  block.write(octal(major, 7), 329, 'latin1');
  block.write(octal(minor, 7), 337, 'latin1');
  checksum(block);
  member.spoil?.(block);
  if (member.spoil !== undefined && !member.keepChecksum) checksum(block);
  return block;
}

function memberBytes(member: MadeMember): Buffer {
  const data = typeof member.data === 'string' ? Buffer.from(member.data) : member.data;
  const content = Buffer.from(data ?? []);
  const pax: Record<string, string> = { ...member.pax };
  if (member.name.length > 100) pax['path'] ??= member.name;
  if ((member.linkName ?? '').length > 100) pax['linkpath'] ??= member.linkName ?? '';
  const { uid = 0, gid = 0, mtime = 0 } = member;
  if (uid > 0o7777777) pax['uid'] ??= String(uid);
  if (gid > 0o7777777) pax['gid'] ??= String(gid);
  if (mtime < 0 || !Number.isInteger(mtime)) pax['mtime'] ??= String(mtime);
  const records = Buffer.concat(Object.entries(pax).map(([key, value]) => paxRecord(key, value)));
  const extended =
    records.length === 0
      ? []
      : [header({ name: 'PaxHeaders/x', type: 'x' }, records.length), padded(records)];
  return Buffer.concat([...extended, header(member, content.length), padded(content)]);
}

/** @param end the end of the archive */
export function makeTar(members: readonly MadeMember[], end = Buffer.alloc(2 * BLOCK)): Buffer {
  return Buffer.concat([...members.map(memberBytes), end]);
}
