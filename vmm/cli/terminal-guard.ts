import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/**
 * `stty -g` now; then, should its standard input end without a word, `stty` back. File descriptor
 * 3 is the terminal.
 */
const SCRIPT = `
saved=$(stty -g <&3) || exit 1
echo ready
read -r word && exit 0
exec stty "$saved" <&3
`;

/**
 * Puts the terminal back should this process die in a way that leaves it no time to: SIGKILL, a
 * crash in native code. A small shell in a session of its own outlives it and notices.
 */
export class TerminalGuard {
  readonly #child: ChildProcess;
  readonly #input: Writable;

  private constructor(child: ChildProcess, input: Writable) {
    this.#child = child;
    this.#input = input;
  }

  /**
   * Starts the guard; fulfilled once it has seen the terminal's present settings, which must be
   * before they are changed. Undefined when `fd` is no terminal or there is no shell or `stty`.
   */
  static async start(fd: number): Promise<TerminalGuard | undefined> {
    const child = spawn('/bin/sh', ['-c', SCRIPT], {
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore', fd],
    });
    // Without it, "too many open files" or "no more processes" would end us.
    child.on('error', () => {});
    const { stdin, stdout } = child;
    if (!stdin || !stdout) return undefined;
    // A guard that is gone cannot be told anything: then there is nothing to tell.
    stdin.on('error', () => {});
    const ready = await Promise.race([
      once(stdout, 'data').then(() => true),
      once(child, 'exit').then(
        () => false,
        () => false,
      ),
    ]);
    if (!ready) return undefined;
    child.unref();
    stdout.destroy();
    return new TerminalGuard(child, stdin);
  }

  /** The terminal has been restored: the guard ends without touching it. */
  dismiss(): void {
    if (this.#child.exitCode === null) this.#input.end('done\n');
  }
}
