import { sha256 } from '../../host/sha256.ts';
import type { Digest } from '../digest.ts';

/** Increased whenever the bytes written for the same layers change. */
const WRITER_VERSION = 1;

/** The name of the metadata image for a list of layers, the lowest first: 64 hexadecimal digits. */
export function rootfsKey(diffIds: readonly Digest[]): string {
  return sha256([`tsvm-rootfs-${WRITER_VERSION}`, ...diffIds].join('\n')).toString('hex');
}
