import { isTerminalOurs, makeTerminalRaw, restoreTerminal } from '../host/terminal.ts';
import { TerminalGuard } from './terminal-guard.ts';

/** How often a job in the background looks whether it is in the foreground: "fg" says nothing. */
const FOREGROUND_POLL_MS = 250;

/** A terminal in raw mode, until it is put back as it was. */
export class RawTerminal {
  readonly #fd: number;
  readonly #saved: Uint8Array;
  readonly #guard: TerminalGuard | undefined;
  #restored = false;
  #foreground = true;
  #timer: NodeJS.Timeout | undefined;
  /** Called when this process comes to be in the background, and in the foreground again. */
  onForeground: (foreground: boolean) => void = () => {};

  private constructor(fd: number, guard: TerminalGuard | undefined) {
    this.#fd = fd;
    this.#guard = guard;
    this.#saved = makeTerminalRaw(fd);
    // "bg" and "fg" send it to a job that was stopped.
    process.on('SIGCONT', () => this.#look());
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

  /**
   * Finds out whose terminal it is now. A read in the background would stop this process; in the
   * foreground the terminal is in the mode of whoever had it meanwhile.
   */
  #look(): void {
    clearTimeout(this.#timer);
    if (this.#restored) return;
    const foreground = isTerminalOurs(this.#fd);
    try {
      if (foreground) makeTerminalRaw(this.#fd);
    } catch {
      // It has hung up.
    }
    if (!foreground) this.#timer = setTimeout(() => this.#look(), FOREGROUND_POLL_MS).unref();
    if (foreground === this.#foreground) return;
    this.#foreground = foreground;
    this.onForeground(foreground);
  }
}
