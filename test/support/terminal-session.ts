/** A program in a terminal, driven as a person would: type, look at the screen. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import xterm from '@xterm/headless';

const COLUMNS = 120;
const ROWS = 50;
/** Lines kept above the screen. */
const SCROLLBACK = 5_000;
const POLL_MS = 50;

export class TerminalSession {
  readonly #child: ChildProcess;
  readonly #terminal = new xterm.Terminal({
    cols: COLUMNS,
    rows: ROWS,
    scrollback: SCROLLBACK,
    allowProposedApi: true,
  });
  readonly #closed: Promise<number>;
  #ended = false;

  /**
   * Runs a shell command in a terminal of its own, by util-linux's `script`. It is killed when the
   * test ends before it.
   */
  constructor(test: TestContext, command: string) {
    const child = spawn(
      'script',
      ['--quiet', '--return', '--flush', '--command', command, '/dev/null'],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => this.#terminal.write(chunk));
    child.stdin.on('error', () => {});
    this.#closed = once(child, 'close').then(([code]) => {
      this.#ended = true;
      return Number(code);
    });
    test.after(() => {
      if (!this.#ended) child.kill('SIGKILL');
    });
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** All lines on the screen and above it, each whole: the terminal wraps long ones. */
  screen(): string {
    const buffer = this.#terminal.buffer.active;
    let text = '';
    for (let row = 0; row < buffer.length; row++) {
      const line = buffer.getLine(row);
      if (row > 0 && !line?.isWrapped) text += '\n';
      text += line?.translateToString(true) ?? '';
    }
    return text.trimEnd();
  }

  /** Resolves once `pattern` is on the screen; rejects with the screen's end after `timeoutMs`. */
  async waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpMatchArray> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const match = this.screen().match(pattern);
      if (match !== null) return match;
      if (this.#ended || performance.now() > deadline) {
        const why = this.#ended ? 'the program has ended' : `${timeoutMs} ms have passed`;
        throw new Error(
          `${pattern} is not on the screen, and ${why}:\n${this.screen().slice(-3000)}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /** Resolves with the command's exit code. */
  async end(timeoutMs: number): Promise<number> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(
      () =>
        reject(new Error(`still running after ${timeoutMs} ms:\n${this.screen().slice(-3000)}`)),
      timeoutMs,
    );
    try {
      return await Promise.race([this.#closed, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}
