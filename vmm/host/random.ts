import { loadAddon } from './addon.ts';

/** Bytes that nobody can predict, from getrandom(2). Loading `node:crypto` would take milliseconds. */
export function randomBytes(count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  loadAddon().fillRandom(bytes);
  return bytes;
}

/** Random bytes as hexadecimal digits. */
export function randomHex(byteCount: number): string {
  return Buffer.from(randomBytes(byteCount)).toString('hex');
}
