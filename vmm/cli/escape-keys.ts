/** Ctrl-A, as in QEMU's and minicom's terminals. */
const PREFIX = 0x01;

export type EscapeAction = 'exit' | 'help';

export const ESCAPE_HELP = [
  'Ctrl-A x  end the virtual machine at once, as by pulling its plug',
  'Ctrl-A h  this help',
  'Ctrl-A Ctrl-A  send Ctrl-A to the guest',
];

/** Takes what is typed and parts the guest's input from the keys meant for tsvm. */
export class EscapeKeys {
  readonly #onAction: (action: EscapeAction) => void;
  #prefixed = false;

  constructor(onAction: (action: EscapeAction) => void) {
    this.#onAction = onAction;
  }

  /** The bytes for the guest. A prefix at the end is remembered until the next call. */
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
