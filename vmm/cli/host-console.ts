import { closeSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { RateLimit } from '../observability/rate-limit.ts';
import { formatSize } from '../util/size.ts';
import { openConsoleFile, writeProblem } from './console-file.ts';
import { type EscapeKey, EscapeKeys, escapeHelp } from './escape-keys.ts';
import { Output } from './output.ts';
import { errnoCode, isTerminal, OutputDescriptor } from './output-descriptor.ts';
import { RawTerminal } from './raw-terminal.ts';

/** Where the guest's serial console is connected to; see `--console`. */
export type ConsoleKind =
  | { readonly kind: 'tty' }
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'none' };

/** The host side of the guest's serial console. */
export interface HostConsole {
  /** Accepts all bytes. False: write no more until {@link onceDrained} resolves. Never throws. */
  write(bytes: Uint8Array): boolean;
  onceDrained(): Promise<void>;
  /** Starts passing input to `receive`, which returns false to pause it. `onEnd`: there is no more. */
  startInput(receive: (bytes: Uint8Array) => boolean, onEnd?: () => void): void;
  resumeInput(): void;
  /** Discards buffered and further output, so that {@link close} need not wait for the reader. */
  abandonOutput(): void;
  /** Writes the buffered output and restores the terminal. Idempotent. */
  close(): Promise<void>;
  /** Restores the terminal immediately, for a process that is about to end. */
  restore(): void;
}

export interface ConsoleOptions {
  readonly logger: Logger;
  /** Aborts waiting for the reader of a named pipe. */
  readonly signal: AbortSignal;
  /** Keys of a terminal that are not for the guest. */
  readonly keys: readonly EscapeKey[];
  /** Called when the terminal has been put in raw mode. */
  readonly onRaw: (terminal: RawTerminal) => void;
}

const STDIN = 0;
const STDOUT = 1;

/** Opening standard input takes milliseconds, which must not delay the guest's first output. */
const INPUT_DELAY_MS = 10;

/** Output of the guest to a descriptor. Errors are only logged. */
function openOutput(fd: number, name: string, logger: Logger): Output {
  const limit = new RateLimit();
  return new Output(new OutputDescriptor(fd), {
    onLost: (error) => {
      const reason =
        errnoCode(error) === 'EPIPE'
          ? `the reader of ${name} has closed it`
          : `${name} cannot be written (${writeProblem(error)})`;
      const loss = 'the guest keeps running, but its output is lost';
      limit.log(logger.warn, `${reason}: ${loss}`);
    },
    onRecovered: (lostBytes) =>
      limit.log(logger.warn, `${name} can be written again; ${formatSize(lostBytes)} were lost`),
    onStall: () => {
      // The message would go to the same stopped terminal.
      if (isTerminal(fd)) return;
      logger.info(`the guest's output is waiting for the reader of ${name}`);
    },
  });
}

class StdioConsole implements HostConsole {
  readonly #output: Output;
  readonly #terminal: RawTerminal | undefined;
  readonly #keys: EscapeKeys | undefined;
  #receive: ((bytes: Uint8Array) => boolean) | undefined;
  #onEnd = () => {};
  #reading = false;
  /** The guest's input buffer is full. */
  #full = false;
  /** This process is in the background of its terminal. */
  #background = false;

  constructor(output: Output, terminal?: RawTerminal, keys: readonly EscapeKey[] = []) {
    this.#output = output;
    this.#terminal = terminal;
    if (terminal !== undefined) {
      terminal.onForeground = (foreground) => {
        this.#background = !foreground;
        this.#flow();
      };
    }
    this.#keys = terminal ? new EscapeKeys(keys, () => this.#showHelp(keys)) : undefined;
  }

  write(bytes: Uint8Array): boolean {
    return this.#output.write(bytes);
  }

  onceDrained(): Promise<void> {
    return this.#output.drained();
  }

  abandonOutput(): void {
    this.#output.abandon();
  }

  startInput(receive: (bytes: Uint8Array) => boolean, onEnd: () => void = () => {}): void {
    this.#receive = receive;
    this.#onEnd = onEnd;
    setTimeout(() => this.#openInput(), INPUT_DELAY_MS);
  }

  #openInput(): void {
    if (this.#receive === undefined) return;
    if (!this.#reading) {
      this.#reading = true;
      process.stdin.on('data', (chunk: Buffer) => {
        const bytes = this.#keys?.filter(chunk) ?? chunk;
        this.#full = bytes.byteLength > 0 && this.#receive?.(bytes) === false;
        this.#flow();
      });
      process.stdin.on('end', () => this.#onEnd());
      // When the terminal hangs up, SIGHUP ends the process.
      process.stdin.on('error', () => {});
    }
    this.#full = false;
    this.#flow();
  }

  resumeInput(): void {
    this.#full = false;
    this.#flow();
  }

  /** Pauses or resumes reading standard input. */
  #flow(): void {
    if (!this.#reading) return;
    if (this.#full || this.#background) process.stdin.pause();
    else process.stdin.resume();
  }

  restore(): void {
    this.#terminal?.restore();
  }

  async close(): Promise<void> {
    this.#receive = undefined;
    this.#full = true;
    this.#flow();
    await this.#output.drained();
    this.restore();
  }

  #showHelp(keys: readonly EscapeKey[]): void {
    this.write(Buffer.from(`\r\n${escapeHelp(keys).join('\r\n')}\r\n`));
  }
}

class FileConsole implements HostConsole {
  readonly #fd: number;
  readonly #output: Output;
  #closed = false;

  /** @param fd open for writing; this console closes it */
  constructor(fd: number, output: Output) {
    this.#fd = fd;
    this.#output = output;
  }

  write(bytes: Uint8Array): boolean {
    return this.#output.write(bytes);
  }

  onceDrained(): Promise<void> {
    return this.#output.drained();
  }

  startInput(): void {}

  resumeInput(): void {}

  restore(): void {}

  abandonOutput(): void {
    this.#output.abandon();
  }

  async close(): Promise<void> {
    await this.#output.drained();
    if (this.#closed) return;
    this.#closed = true;
    this.#output.close();
    closeSync(this.#fd);
  }
}

/** Discards all output and has no input. */
const NO_CONSOLE: HostConsole = {
  write: () => true,
  onceDrained: () => Promise.resolve(),
  startInput: () => {},
  resumeInput: () => {},
  abandonOutput: () => {},
  close: () => Promise.resolve(),
  restore: () => {},
};

/**
 * Opens the console. This puts a terminal in raw mode: close or restore it on every exit path.
 * @throws TsvmError `invalid-config` for `tty` without a terminal, `file-unreadable` for a file
 */
export async function openHostConsole(
  console: ConsoleKind,
  { logger, signal, keys, onRaw }: ConsoleOptions,
): Promise<HostConsole> {
  switch (console.kind) {
    case 'none':
      return NO_CONSOLE;
    case 'file': {
      const fd = await openConsoleFile(console.path, logger, signal);
      return new FileConsole(fd, openOutput(fd, console.path, logger));
    }
    case 'stdio':
      return new StdioConsole(openOutput(STDOUT, 'standard output', logger));
    case 'tty': {
      if (!isTerminal(STDIN)) {
        throw new TsvmError(
          'invalid-config',
          'standard input is not a terminal: use --console stdio for a pipe or a file',
        );
      }
      const terminal = await RawTerminal.open(STDIN);
      onRaw(terminal);
      return new StdioConsole(openOutput(STDOUT, 'standard output', logger), terminal, keys);
    }
  }
}
