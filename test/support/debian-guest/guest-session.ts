/** A login on the serial console of a guest, by a tsvm process with pipes. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { TSVM } from '../tsvm-process.ts';

/** A boot takes some 20 s, on a busy host many times that. */
const WAIT_MS = 900_000;

const PROMPT = /^root@[\w-]+:[^\n]*# $/m;

export class GuestSession {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<unknown>;
  #unread = '';
  #stderr = '';

  constructor(test: TestContext, args: readonly string[]) {
    this.#child = spawn(TSVM, ['boot', '--console', 'stdio', ...args]);
    this.#closed = once(this.#child, 'close');
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#unread += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
    });
    // A guest that has ended has closed the pipe.
    this.#child.stdin.on('error', () => {});
    test.after(() => this.#child.kill('SIGKILL'));
  }

  /** What tsvm has said so far. */
  get stderr(): string {
    return this.#stderr;
  }

  /** Waits for output that matches, and returns everything up to there, without escape sequences. */
  async expect(pattern: RegExp): Promise<string> {
    const deadline = AbortSignal.timeout(WAIT_MS);
    for (;;) {
      const text = stripVTControlCharacters(this.#unread).replaceAll('\r', '');
      if (pattern.test(text)) {
        this.#unread = '';
        return text;
      }
      try {
        const ended = this.#closed.then(() => Promise.reject(new Error('tsvm ended')));
        await Promise.race([once(this.#child.stdout, 'data', { signal: deadline }), ended]);
      } catch (cause) {
        throw new Error(`no ${pattern} in ${text.slice(-3000)}\n${this.#stderr}`, { cause });
      }
    }
  }

  /** Logs in as root with the image's password. Returns the messages of the boot. */
  async logIn(): Promise<string> {
    const messages = await this.expect(/^\S+ login: $/m);
    this.type('root\n');
    await this.expect(/^Password: $/m);
    this.type('debian\n');
    await this.expect(PROMPT);
    // Programs shall not take the console for a terminal to be paged on, or in colours.
    await this.run('export SYSTEMD_PAGER=cat SYSTEMD_COLORS=0; stty cols 500');
    return messages;
  }

  /** Runs a command in the shell. Returns its output, with the command's echo in the first line. */
  async run(command: string): Promise<string> {
    this.type(`${command}\n`);
    return this.expect(PROMPT);
  }

  type(text: string): void {
    this.#child.stdin.write(text);
  }

  /** Waits for the process's end. Returns its exit code, or null when a signal ended it. */
  async ended(): Promise<number | null> {
    await this.#closed;
    return this.#child.exitCode;
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }
}
