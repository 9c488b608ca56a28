/** Writes plain ustar headers: POSIX.1-2001, pax, "ustar Interchange Format". */
import { TAR_BLOCK_BYTES } from './header.ts';

export interface NewMember {
  /** At most 100 bytes; the name of a directory ends with a slash. */
  readonly name: string;
  readonly sizeBytes: number;
}

/** Larger sizes are written as binary numbers, as GNU tar does. */
const OCTAL_SIZE_MAX = 0o77777777777;

/** A file or directory owned by root, with time 0, so that the bytes are reproducible. */
export function tarHeader({ name, sizeBytes }: NewMember): Buffer {
  if (name.length > 100) throw new RangeError(`the name ${name} is too long for a tar header`);
  const isDirectory = name.endsWith('/');
  const block = Buffer.alloc(TAR_BLOCK_BYTES);
  block.write(name, 0, 'latin1');
  block.write(isDirectory ? '0000755\0' : '0000644\0', 100, 'latin1');
  block.write('0000000\0'.repeat(2), 108, 'latin1');
  if (sizeBytes <= OCTAL_SIZE_MAX) {
    block.write(`${sizeBytes.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  } else {
    block.writeUInt8(0x80, 124);
    block.writeBigUInt64BE(BigInt(sizeBytes), 128);
  }
  block.write(`${'0'.repeat(11)}\0`, 136, 'latin1');
  block.write(`        ${isDirectory ? '5' : '0'}`, 148, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

/** Zero padding of a member's last block. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((TAR_BLOCK_BYTES - (sizeBytes % TAR_BLOCK_BYTES)) % TAR_BLOCK_BYTES);
}

/** The end of an archive. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * TAR_BLOCK_BYTES);
}
