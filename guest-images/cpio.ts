/** Initial RAM disks: Linux's Documentation/driver-api/early-userspace/buffer-format.rst. */

/** A member of a cpio archive in the "newc" format. */
function cpioMember(name: string, mode: number, content: Uint8Array): Uint8Array {
  const numbers = [0, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
  const fields = numbers.map((number) => number.toString(16).padStart(8, '0'));
  const padded = (bytes: Uint8Array) => [bytes, new Uint8Array(-bytes.length & 3)];
  const header = Buffer.from(`070701${fields.join('')}${name}\0`, 'latin1');
  return Buffer.concat([...padded(header), ...padded(content)]);
}

/** An archive whose `/init` is this program. The kernel itself makes `/dev/console`. */
export function initrdOf(program: Uint8Array): Uint8Array {
  return Buffer.concat([
    cpioMember('init', 0o100755, program),
    cpioMember('TRAILER!!!', 0, new Uint8Array(0)),
  ]);
}
