import { createHash } from 'node:crypto';
import { loadAddon } from './addon.ts';

/**
 * The SHA-256 of a few bytes in memory. Loading `node:crypto` would take milliseconds; it is for long and
 * streamed data.
 */
export function sha256(data: Uint8Array | string): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data;
  const digest = loadAddon().sha256(bytes);
  return digest === undefined ? createHash('sha256').update(bytes).digest() : Buffer.from(digest);
}
