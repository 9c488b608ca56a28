import { loadAddon } from './addon.ts';

/**
 * Writes as many bytes as a pipe or a socket takes without waiting for its reader.
 * @returns how many; 0 when there is no room
 * @throws NativeError `EOPNOTSUPP` for a file of another kind, `EPIPE` when the reader has gone, …
 */
export function writeNow(fd: number, bytes: Uint8Array): number {
  return loadAddon().writeNow(fd, bytes);
}
