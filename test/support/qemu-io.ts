import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';

const PROMPT = 'qemu-io> ';

/** A qemu-io process that reads commands from its standard input. */
export class QemuIo {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #output = '';
  #wake: (() => void) | undefined;

  constructor() {
    // Both streams are one pipe, so that the messages of a command come before the next prompt.
    this.#child = spawn('sh', ['-c', 'exec qemu-io 2>&1'], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#wake?.();
    });
    this.#child.on('close', () => this.#wake?.());
    this.#child.stdin.on('error', () => {});
  }

  /**
   * Runs commands and returns their output.
   *
   * Each command is sent after a prompt: qemu-io buffers its input, but waits for more input before it
   * looks at the buffer again.
   */
  async ask(...commands: readonly string[]): Promise<string> {
    let printed = '';
    for (const command of commands) {
      await this.#prompt();
      this.#output = '';
      this.#child.stdin.write(`${command}\n`);
      printed += await this.#prompt();
    }
    return printed.trim();
  }

  /** Runs commands that print nothing unless they fail. */
  async run(...commands: readonly string[]): Promise<void> {
    for (const command of commands) {
      const printed = await this.ask(command);
      if (printed !== '') throw new Error(`qemu-io ${command}: ${printed}`);
    }
  }

  async end(): Promise<void> {
    if (this.#hasEnded()) return;
    const closed = once(this.#child, 'close');
    this.#child.stdin.end('quit\n');
    await closed;
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Waits for the prompt, which stays in the buffer. @returns the output before it */
  async #prompt(): Promise<string> {
    while (!this.#output.endsWith(PROMPT)) {
      if (this.#hasEnded()) throw new Error(`qemu-io has ended: ${this.#output}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const printed = this.#output.slice(0, -PROMPT.length);
    this.#output = PROMPT;
    return printed;
  }
}
