import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Writable } from 'node:stream';

/**
 * Saves the settings with `stty -g`; restores them if standard input reaches end of file without a
 * line. File descriptor 3 is the terminal.
 */
const SCRIPT = `
saved=$(stty -g <&3) || exit 1
echo ready
read -r word && exit 0
exec stty "$saved" <&3
`;

/**
 * Restores the terminal if this process dies without doing so itself, by SIGKILL or a crash in
 * native code. A small shell in its own session outlives the process and notices its end.
 */
export class TerminalGuard {
  readonly #child: ChildProcess;
  readonly #input: Writable;

  private constructor(child: ChildProcess, input: Writable) {
    this.#child = child;
    this.#input = input;
  }

  /**
   * Starts the guard. Resolves when it has saved the terminal's settings; change them only after
   * that. Resolves to undefined when `fd` is not a terminal or there is no shell or `stty`.
   */
  static async start(fd: number): Promise<TerminalGuard | undefined> {
    const child = spawn('/bin/sh', ['-c', SCRIPT], {
      detached: true,
      stdio: ['pipe', 'pipe', 'ignore', fd],
    });
    // An unhandled error event (EMFILE, EAGAIN) would end this process.
    child.on('error', () => {});
    const { stdin, stdout } = child;
    if (!stdin || !stdout) return undefined;
    // EPIPE when the guard has already ended.
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

  /** Ends the guard; call it when the terminal has been restored. */
  dismiss(): void {
    if (this.#child.exitCode === null) this.#input.end('done\n');
  }
}
