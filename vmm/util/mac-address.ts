import { randomBytes } from 'node:crypto';

const MAC_BYTES = 6;
/** The prefix that KVM guests usually have; it is locally administered. */
const RANDOM_PREFIX = [0x52, 0x54, 0x00];

const GROUP_BIT = 0x01;

/** Six bytes of a text such as `52:54:00:12:34:56`; undefined unless it is one station's address. */
export function parseMacAddress(text: string): Uint8Array | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined;
  const bytes = Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
  const isGroup = ((bytes[0] ?? 0) & GROUP_BIT) !== 0;
  return isGroup || bytes.every((byte) => byte === 0) ? undefined : bytes;
}

export function randomMacAddress(): string {
  const bytes = [...RANDOM_PREFIX, ...randomBytes(MAC_BYTES - RANDOM_PREFIX.length)];
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}
