/**
 * File names as bytes. For Linux a name is any bytes except NUL and "/"; a JavaScript string cannot
 * hold bytes that are not UTF-8. As in Python's PEP 383, such a byte becomes the lone surrogate
 * U+DC80 + (byte - 0x80), which no valid UTF-8 decodes to: names keep their bytes and stay
 * distinct.
 */
import { readFileSync } from 'node:fs';

/** A decoder that throws on invalid UTF-8. */
type Strict = InstanceType<typeof TextDecoder>;

const ESCAPE_BASE = 0xdc00;
const ESCAPED_MIN = 0xdc80;
const ESCAPED_MAX = 0xdcff;
const UTF8_BYTES_MAX = 4;

/** Decodes a name. */
export function decodeBytes(bytes: Uint8Array): string {
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  try {
    return strict.decode(bytes);
  } catch {
    return decodeByCharacter(bytes, strict);
  }
}

/** The bytes of a name: the inverse of {@link decodeBytes}. */
export function encodeBytes(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name);
  const parts = Array.from(name, (character) => {
    const code = character.charCodeAt(0);
    const isEscaped = character.length === 1 && code >= ESCAPED_MIN && code <= ESCAPED_MAX;
    return isEscaped ? Buffer.of(code - ESCAPE_BASE) : Buffer.from(character);
  });
  return Buffer.concat(parts);
}

/** A name in the form that `node:fs` needs. */
export function fsPath(name: string): string | Buffer {
  return name.isWellFormed() ? name : encodeBytes(name);
}

/** `process.argv` with every argument's bytes intact: Node replaces what is not UTF-8. */
export function commandLine(): string[] {
  const { argv } = process;
  if (!argv.some((word) => word.includes('\ufffd'))) return argv;
  const words = splitAtNul(readFileSync('/proc/self/cmdline'));
  // Node's own options come first and are not in `argv`.
  const own = argv.slice(2);
  return [...argv.slice(0, 2), ...words.slice(words.length - own.length).map(decodeBytes)];
}

function decodeByCharacter(bytes: Uint8Array, strict: Strict): string {
  let name = '';
  for (let at = 0; at < bytes.length; ) {
    const length = characterBytes(bytes.subarray(at, at + UTF8_BYTES_MAX), strict);
    if (length > 0) name += strict.decode(bytes.subarray(at, at + length));
    else name += String.fromCharCode(ESCAPE_BASE + (bytes[at] ?? 0));
    at += Math.max(1, length);
  }
  return name;
}

/** The length of the character at the start of `bytes`, 0 when there is no valid one. */
function characterBytes(bytes: Uint8Array, strict: Strict): number {
  for (let length = 1; length <= bytes.length; length++) {
    try {
      strict.decode(bytes.subarray(0, length));
      return length;
    } catch {}
  }
  return 0;
}

/** Each word ends with a NUL. */
function splitAtNul(bytes: Buffer): Buffer[] {
  const words: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at);
    words.push(bytes.subarray(at, end));
    at = end + 1;
  }
  return words;
}
