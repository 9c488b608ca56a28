/** Initial RAM disks: Linux's Documentation/driver-api/early-userspace/buffer-format.rst. */

/** A member of an archive. A folder comes before what is in it. */
export interface CpioMember {
  /** Relative to the root, without a leading slash. */
  readonly path: string;
  /** Type and permissions, as in `st_mode`. */
  readonly mode: number;
  readonly content?: Uint8Array;
}

export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

/**
 * An archive in the "newc" format, of which root owns all, without time stamps. `/dev/console` need not
 * be in it, because the kernel makes it.
 */
export function composeCpio(members: readonly CpioMember[]): Uint8Array {
  return Buffer.concat([...members, { path: 'TRAILER!!!', mode: 0 }].flatMap(encodeMember));
}

/** An archive whose `/init` is this program. */
export function initrdOf(program: Uint8Array): Uint8Array {
  return composeCpio([{ path: 'init', mode: S_IFREG | 0o755, content: program }]);
}

function encodeMember({ path, mode, content = new Uint8Array(0) }: CpioMember): Uint8Array[] {
  const pathBytes = Buffer.byteLength(path) + 1;
  const numbers = [0, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, pathBytes, 0];
  const fields = numbers.map((number) => number.toString(16).padStart(8, '0'));
  const padded = (bytes: Uint8Array) => [bytes, new Uint8Array(-bytes.length & 3)];
  return [...padded(Buffer.from(`070701${fields.join('')}${path}\0`)), ...padded(content)];
}
