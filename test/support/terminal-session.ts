/** A program in a terminal, driven like a person would: by typing and looking at the screen. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import xterm from '@xterm/headless';

const COLUMNS = 120;
const ROWS = 50;
/** Number of lines kept above the screen. */
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
   * Runs a command of sh(1) in a new terminal, by util-linux's `script`. It is killed if the test ends
   * first. After Ctrl-C, the shell's own exit code is 130 whatever its command's is: `exec` avoids that.
   */
  constructor(test: TestContext, command: string, env: NodeJS.ProcessEnv = process.env) {
    const child = spawn(
      'script',
      ['--quiet', '--return', '--flush', '--command', command, '/dev/null'],
      { stdio: ['pipe', 'pipe', 'inherit'], env: { ...env, SHELL: '/bin/sh' } },
    );
    this.#child = child;
    child.stdout.on('data', (chunk: Buffer) => this.#terminal.write(chunk));
    child.stdin.on('error', () => {});
    this.#closed = once(child, 'close').then(async ([code]) => {
      // The terminal parses later what is written to it.
      await new Promise<void>((resolve) => this.#terminal.write('', resolve));
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

  /** All lines on the screen and above it. Lines that the terminal has wrapped are joined. */
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

  /** Resolves when `pattern` is on the screen. Rejects with the end of the screen after `timeoutMs`. */
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
