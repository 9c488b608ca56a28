/** Ctrl-A, the escape key of QEMU and minicom too. */
const PREFIX = 0x01;

export type EscapeAction = 'exit' | 'help';

export const ESCAPE_HELP = [
  'Ctrl-A x  end the virtual machine at once, like a power failure',
  'Ctrl-A h  this help',
  'Ctrl-A Ctrl-A  send Ctrl-A to the guest',
];

/** Separates the guest's input from the escape keys for tsvm. */
export class EscapeKeys {
  readonly #onAction: (action: EscapeAction) => void;
  #prefixed = false;

  constructor(onAction: (action: EscapeAction) => void) {
    this.#onAction = onAction;
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
      if (byte === 0x78 /* x */) this.#onAction('exit');
      else if (byte === 0x68 /* h */ || byte === 0x3f /* ? */) this.#onAction('help');
      else if (byte === PREFIX || byte === 0x61 /* a */) out.push(PREFIX);
    }
    return Uint8Array.from(out);
  }
}
