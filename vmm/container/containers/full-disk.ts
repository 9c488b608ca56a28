/** The end of a container is recorded on a full disk as well: its own writes may have filled it. */
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { hasCode } from '../../util/error-code.ts';

/** Of the smallest blocks of file systems that are in use. */
const BLOCK_BYTES = 4096;

/** @returns whether there was space */
export function unlessFull(write: () => void): boolean {
  try {
    write();
    return true;
  } catch (error) {
    if (hasCode(error, 'ENOSPC', 'EDQUOT')) return false;
    throw error;
  }
}

/** Writes over a small file, in the block that it has: that needs no space. A longer text is dropped. */
export function overwriteInBlock(path: string, text: string): void {
  const fd = openSync(path, 'r+');
  try {
    const { size } = fstatSync(fd);
    if (size > BLOCK_BYTES || Buffer.byteLength(text) > BLOCK_BYTES) return;
    writeSync(fd, text.padEnd(size));
  } finally {
    closeSync(fd);
  }
}
