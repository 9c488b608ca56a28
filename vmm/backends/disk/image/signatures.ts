import { closeSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { fsPath } from '../../../util/byte-names.ts';

/** Signatures of image formats, with qemu-img's names for the formats. */
const SIGNATURES: readonly (readonly [format: string, offset: number, bytes: Buffer])[] = [
  // docs/interop/qcow2.txt, "Header": the version tells qcow from qcow2.
  ['qcow', 0, Buffer.from('QFI\xfb\0\0\0\x01', 'latin1')],
  ['qcow2', 0, Buffer.from('QFI\xfb', 'latin1')],
  ['qed', 0, Buffer.from('QED\0', 'latin1')],
  // VMware's "Virtual Disk Format": sparse extents of hosted products and of ESX, and a descriptor.
  ['vmdk', 0, Buffer.from('KDMV')],
  ['vmdk', 0, Buffer.from('COWD')],
  ['vmdk', 0, Buffer.from('# Disk DescriptorFile')],
  // [MS-VHDX] 2.2.1, "File Type Identifier".
  ['vhdx', 0, Buffer.from('vhdxfile')],
  // Microsoft's VHD specification, "Hard Disk Footer Format": a dynamic disk begins with a copy.
  ['vpc', 0, Buffer.from('conectix')],
  // VirtualBox's VDICore.h: the signature 0xbeda107f follows 64 bytes of text.
  ['vdi', 64, Buffer.from('\x7f\x10\xda\xbe', 'latin1')],
  // LUKS On-Disk Format Specification, "PHDR".
  ['luks', 0, Buffer.from('LUKS\xba\xbe', 'latin1')],
];

/** No signature extends past this. */
const SIGNATURE_BYTES = 128;

/** The format whose signature is at the start of a file, if any. */
export function formatBySignature(start: Buffer): string | undefined {
  return SIGNATURES.find(([, offset, bytes]) =>
    start.subarray(offset, offset + bytes.length).equals(bytes),
  )?.[0];
}

/**
 * The format of a named file by its signature; undefined too when the file cannot be read or is not
 * a file.
 */
export function signatureOf(path: string): string | undefined {
  const start = Buffer.alloc(SIGNATURE_BYTES);
  try {
    // Opening a pipe would wait for a writer.
    if (!canHoldImage(statSync(fsPath(path)))) return undefined;
    const fd = openSync(fsPath(path), 'r');
    try {
      const got = readSync(fd, start, 0, start.length, 0);
      return formatBySignature(start.subarray(0, got));
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

function canHoldImage(stats: Stats): boolean {
  return stats.isFile() || stats.isBlockDevice();
}
