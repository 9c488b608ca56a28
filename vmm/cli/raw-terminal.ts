import { isTerminalOurs, makeTerminalRaw, restoreTerminal } from '../host/terminal.ts';
import { TerminalGuard } from './terminal-guard.ts';

/** Poll interval of a background job, because "fg" does not signal a running job. */
const FOREGROUND_POLL_MS = 250;

/** A terminal in raw mode, until {@link restore}. */
export class RawTerminal {
  readonly #fd: number;
  readonly #saved: Uint8Array;
  readonly #guard: TerminalGuard | undefined;
  #restored = false;
  #foreground = true;
  #timer: NodeJS.Timeout | undefined;
  /** Called when this process moves to the background or back to the foreground. */
  onForeground: (foreground: boolean) => void = () => {};

  private constructor(fd: number, guard: TerminalGuard | undefined) {
    this.#fd = fd;
    this.#guard = guard;
    this.#saved = makeTerminalRaw(fd);
    // The shell's "bg" and "fg" send it to a stopped job.
    process.on('SIGCONT', () => this.#look());
  }

  /** Starts the guard, which saves the terminal's settings, and then sets raw mode. */
  static async open(fd: number): Promise<RawTerminal> {
    return new RawTerminal(fd, await TerminalGuard.start(fd));
  }

  get raw(): boolean {
    return !this.#restored;
  }

  /** Restores the saved settings. Idempotent. Never throws, even if the terminal has hung up. */
  restore(): void {
    if (this.#restored) return;
    this.#restored = true;
    try {
      restoreTerminal(this.#fd, this.#saved);
    } catch {}
    this.#guard?.dismiss();
  }

  /**
   * Checks whether this process is in the foreground. Reading in the background would stop it. On
   * return to the foreground, raw mode is set again, because other programs may have changed it.
   */
  #look(): void {
    clearTimeout(this.#timer);
    if (this.#restored) return;
    const foreground = isTerminalOurs(this.#fd);
    try {
      if (foreground) makeTerminalRaw(this.#fd);
    } catch {
      // The terminal has hung up.
    }
    if (!foreground) this.#timer = setTimeout(() => this.#look(), FOREGROUND_POLL_MS).unref();
    if (foreground === this.#foreground) return;
    this.#foreground = foreground;
    this.onForeground(foreground);
  }
}
