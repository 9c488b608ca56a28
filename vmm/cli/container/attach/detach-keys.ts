import { TsvmError } from '../../../errors.ts';

export const DEFAULT_DETACH_KEYS = 'ctrl-p,ctrl-q';

const CONTROL_CODES = 0x1f;

/**
 * The bytes of a sequence of keys: letters, digits or `ctrl-KEY`, separated by commas.
 * @throws TsvmError `invalid-config` with Docker's message
 */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === '') return new Uint8Array();
  const bytes = text.split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0);
    const [, letter] = /^ctrl-([a-z@[\\\]^_])$/.exec(key) ?? [];
    if (letter !== undefined) return letter.toUpperCase().charCodeAt(0) & CONTROL_CODES;
    throw new TsvmError(
      'invalid-config',
      `invalid detach keys provided: unknown character: '${key}'`,
    );
  });
  return Uint8Array.from(bytes);
}

/** Finds the sequence in what is typed. */
export class DetachKeys {
  readonly #keys: Uint8Array;
  readonly #onDetach: () => void;
  /** How many of them have just been typed. */
  #typed = 0;

  constructor(keys: Uint8Array, onDetach: () => void) {
    this.#keys = keys;
    this.#onDetach = onDetach;
  }

  /** @returns the bytes for the container. The beginning of a sequence is kept for the next call. */
  filter(bytes: Uint8Array): Uint8Array {
    if (this.#keys.length === 0) return bytes;
    const out: number[] = [];
    for (const byte of bytes) {
      if (byte === this.#keys[this.#typed]) {
        this.#typed++;
        if (this.#typed < this.#keys.length) continue;
        this.#typed = 0;
        this.#onDetach();
        return Uint8Array.from(out);
      }
      out.push(...this.#keys.subarray(0, this.#typed));
      // What did not continue the sequence may begin it.
      this.#typed = byte === this.#keys[0] ? 1 : 0;
      if (this.#typed === 0) out.push(byte);
    }
    return Uint8Array.from(out);
  }
}
