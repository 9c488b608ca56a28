/** Ctrl-A, the escape key of QEMU and minicom too. */
const PREFIX = 0x01;

/** A key that means something to tsvm after Ctrl-A. */
export interface EscapeKey {
  readonly key: string;
  readonly help: string;
  readonly action: () => void;
}

/** Ends the machine; the same key in all consoles. */
export function endKey(action: () => void): EscapeKey {
  return { key: 'x', help: 'end the virtual machine at once, like a power failure', action };
}

/** What Ctrl-A h shows. */
export function escapeHelp(keys: readonly EscapeKey[]): string[] {
  return [
    ...keys.map(({ key, help }) => `Ctrl-A ${key}  ${help}`),
    'Ctrl-A h  this help',
    'Ctrl-A Ctrl-A  send Ctrl-A to the guest',
  ];
}

/** Separates the guest's input from the escape keys for tsvm. */
export class EscapeKeys {
  readonly #actions: ReadonlyMap<number, () => void>;
  #prefixed = false;

  /** @param onHelp called for Ctrl-A h and Ctrl-A ? */
  constructor(keys: readonly EscapeKey[], onHelp: () => void) {
    const own = keys.map(({ key, action }): [number, () => void] => [key.charCodeAt(0), action]);
    this.#actions = new Map([...own, ['h'.charCodeAt(0), onHelp], ['?'.charCodeAt(0), onHelp]]);
  }

  /** @returns the bytes for the guest. A trailing Ctrl-A is kept for the next call. */
  filter(typed: Uint8Array): Uint8Array {
    if (!this.#prefixed && !typed.includes(PREFIX)) return typed;
    const out: number[] = [];
    for (const byte of typed) {
      if (!this.#prefixed) {
        if (byte === PREFIX) this.#prefixed = true;
        else out.push(byte);
        continue;
      }
      this.#prefixed = false;
      if (byte === PREFIX || byte === 0x61 /* a */) out.push(PREFIX);
      else this.#actions.get(byte)?.();
    }
    return Uint8Array.from(out);
  }
}
