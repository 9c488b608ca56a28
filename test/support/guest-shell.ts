/** The shell of a Linux guest that a test boots in its own process. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { ConsoleBackend } from '../../vmm/index.ts';
import { BOOT_TIMEOUT_MS, COMMAND_TIMEOUT_MS } from './linux-guest.ts';

const POLL_MS = 5;

/** The line that Linux ends with: whoever waits for the shell need not wait until the time is up. */
const PANIC = /Kernel panic - not syncing: [^\n]*\n/;

/** Types commands into the console and reads what they print. */
export class GuestShell implements ConsoleBackend {
  text = '';
  #receive: ((bytes: Uint8Array) => boolean) | undefined;
  #commands = 0;

  write(bytes: Uint8Array): boolean {
    this.text += Buffer.from(bytes).toString('latin1');
    return true;
  }

  onceDrained(): Promise<void> {
    return Promise.resolve();
  }

  startInput(receive: (bytes: Uint8Array) => boolean): void {
    this.#receive = receive;
  }

  resumeInput(): void {}

  /** Waits until the shell is there. */
  async ready(): Promise<void> {
    await this.#waitFor(/built-in commands/, 0, BOOT_TIMEOUT_MS);
    await this.run('stty -echo; PS1=; PS2=');
  }

  /** What a command prints, to both. */
  async run(command: string): Promise<string> {
    const number = this.#commands++;
    const from = this.text.length;
    // A serial port takes all of it, however long.
    this.#receive?.(Buffer.from(`{ ${command}\n} 2>&1; echo "<$((${number}))>"\n`));
    const end = new RegExp(`<${number}>`);
    const output = await this.#waitFor(end, from, COMMAND_TIMEOUT_MS);
    return output.slice(0, output.search(end)).replaceAll('\r\n', '\n');
  }

  async #waitFor(pattern: RegExp, from: number, timeoutMs: number): Promise<string> {
    const end = Date.now() + timeoutMs;
    for (;;) {
      const text = this.text.slice(from);
      if (pattern.test(text)) return text;
      if (PANIC.test(this.text)) throw new Error(`a panic of the guest: ${this.text.slice(-3000)}`);
      if (Date.now() > end) throw new Error(`no ${pattern} in: ${text.slice(-3000)}`);
      await sleep(POLL_MS);
    }
  }
}
