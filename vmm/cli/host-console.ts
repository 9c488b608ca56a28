import { closeSync } from 'node:fs';
import { TsvmError } from '../errors.ts';
import { writeProblem } from '../host/write-problem.ts';
import { type ConsoleBackend, NO_CONSOLE } from '../machine/assembly.ts';
import type { Logger } from '../observability/logger.ts';
import { RateLimit } from '../observability/rate-limit.ts';
import { formatSize } from '../util/size.ts';
import { openConsoleFile } from './console-file.ts';
import { type EscapeKey, EscapeKeys, escapeHelp } from './escape-keys.ts';
import { Output } from './output.ts';
import { errnoCode, isTerminal, OutputDescriptor } from './output-descriptor.ts';
import { RawTerminal } from './raw-terminal.ts';
import { standardInput } from './standard-input.ts';

/** Where the guest's serial console is connected to; see `--console`. */
export type ConsoleKind =
  | { readonly kind: 'tty' }
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'none' };

/** The host's end of the guest's console, with its descriptors. */
export interface HostConsole extends ConsoleBackend {
  /** Discards buffered and further output, so that {@link close} need not wait for the reader. */
  abandonOutput(): void;
  /** Writes the buffered output and restores the terminal. Idempotent. */
  close(): Promise<void>;
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
  #receive: (bytes: Uint8Array) => boolean = () => true;
  #onEnd = () => {};
  /** Standard input is open. */
  #reading = false;
  /** The guest's input buffer is full. */
  #full = false;
  /** This process is in the background of its terminal. */
  #background = false;
  #closed = false;

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
    if (this.#closed) return;
    this.#receive = receive;
    this.#onEnd = onEnd;
    if (!this.#reading) this.#openInput();
    this.resumeInput();
  }

  resumeInput(): void {
    this.#full = false;
    this.#flow();
  }

  #openInput(): void {
    this.#reading = true;
    standardInput().on('data', (chunk: Buffer) => {
      const bytes = this.#keys?.filter(chunk) ?? chunk;
      this.#full = bytes.byteLength > 0 && !this.#receive(bytes);
      this.#flow();
    });
    standardInput().on('end', () => this.#onEnd());
    // When the terminal hangs up, SIGHUP ends the process.
    standardInput().on('error', () => {});
  }

  /** Pauses or resumes reading standard input. */
  #flow(): void {
    if (!this.#reading) return;
    if (this.#full || this.#background || this.#closed) standardInput().pause();
    else standardInput().resume();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#flow();
    await this.#output.drained();
    this.#terminal?.restore();
  }

  #showHelp(keys: readonly EscapeKey[]): void {
    this.write(Buffer.from(`\r\n${escapeHelp(keys).join('\r\n')}\r\n`));
  }
}

/** @param fd open for writing; the console closes it */
function fileConsole(fd: number, output: Output): HostConsole {
  let closed = false;
  return {
    ...NO_CONSOLE,
    write: (bytes) => output.write(bytes),
    onceDrained: () => output.drained(),
    abandonOutput: () => output.abandon(),
    close: async () => {
      await output.drained();
      if (closed) return;
      closed = true;
      output.close();
      closeSync(fd);
    },
  };
}

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
      return { ...NO_CONSOLE, abandonOutput: () => {}, close: () => Promise.resolve() };
    case 'file': {
      const fd = await openConsoleFile(console.path, logger, signal);
      return fileConsole(fd, openOutput(fd, console.path, logger));
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
