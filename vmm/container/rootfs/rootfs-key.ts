import { createHash } from 'node:crypto';
import type { Digest } from '../digest.ts';

/** Changes whenever other bytes are written for the same layers. */
const WRITER_VERSION = 1;

/** Names the metadata image of a list of layers, the lowest first: 64 hexadecimal digits. */
export function rootfsKey(diffIds: readonly Digest[]): string {
  return createHash('sha256')
    .update([`tsvm-rootfs-${WRITER_VERSION}`, ...diffIds].join('\n'))
    .digest('hex');
}
