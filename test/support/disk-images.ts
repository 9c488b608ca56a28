/** Changes and reads image files byte by byte. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';

/**
 * Overwrites big-endian fields of a file, as qcow2 has them: 32 bits for numbers, 64 bits for bigints.
 */
export function patchFile(path: string, patches: readonly (readonly [number, Field])[]): void {
  const fd = openSync(path, 'r+');
  for (const [offset, field] of patches) writeAt(fd, encodeField(field), offset);
  closeSync(fd);
}

function writeAt(fd: number, bytes: Uint8Array, offset: number): void {
  writeSync(fd, bytes, 0, bytes.length, offset);
}

type Field = number | bigint | Uint8Array;

function encodeField(field: Field): Uint8Array {
  if (field instanceof Uint8Array) return field;
  const bytes = Buffer.alloc(typeof field === 'number' ? 4 : 8);
  if (typeof field === 'number') bytes.writeUInt32BE(field);
  else bytes.writeBigUInt64BE(field);
  return bytes;
}

/** Bytes of a file. Beyond its end they are zero. */
export function fileBytes(path: string, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const fd = openSync(path, 'r');
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  return bytes;
}
