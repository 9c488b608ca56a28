import { isTerminalOurs, makeTerminalRaw, restoreTerminal } from '../kvm/host.ts';
import { TerminalGuard } from './terminal-guard.ts';

/** A terminal in raw mode, until it is put back as it was. */
export class RawTerminal {
  readonly #fd: number;
  readonly #saved: Uint8Array;
  readonly #guard: TerminalGuard | undefined;
  #restored = false;

  private constructor(fd: number, guard: TerminalGuard | undefined) {
    this.#fd = fd;
    this.#guard = guard;
    this.#saved = makeTerminalRaw(fd);
    // Whoever stopped us has put the terminal in its own mode meanwhile.
    process.on('SIGCONT', () => this.#resume());
  }

  /** The guard looks at the terminal before it is changed. */
  static async open(fd: number): Promise<RawTerminal> {
    return new RawTerminal(fd, await TerminalGuard.start(fd));
  }

  get raw(): boolean {
    return !this.#restored;
  }

  /** Idempotent. Never throws: a terminal that has hung up has no modes any more. */
  restore(): void {
    if (this.#restored) return;
    this.#restored = true;
    try {
      restoreTerminal(this.#fd, this.#saved);
    } catch {}
    this.#guard?.dismiss();
  }

  #resume(): void {
    try {
      if (this.raw && isTerminalOurs(this.#fd)) makeTerminalRaw(this.#fd);
    } catch {}
  }
}
