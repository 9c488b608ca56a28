import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { isatty } from 'node:tty';
import { TsvmError } from '../errors.ts';
import { writeNow } from '../kvm/host.ts';
import { ESCAPE_HELP, EscapeKeys } from './escape-keys.ts';
import { TerminalGuard } from './terminal-guard.ts';

/** Where the guest's serial console goes; see `--console`. */
export type ConsoleKind =
  | { readonly kind: 'tty' }
  | { readonly kind: 'stdio' }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'none' };

/** The host's end of the guest's console. */
export interface HostConsole {
  /** Takes bytes; false: no more until {@link onceDrained} is fulfilled. */
  write(bytes: Uint8Array): boolean;
  onceDrained(): Promise<void>;
  /** Starts to hand what is typed to `receive`, which answers false to pause the input. */
  startInput(receive: (bytes: Uint8Array) => boolean): void;
  resumeInput(): void;
  /** Drops what is buffered and what comes: nobody waits for a reader that has stopped reading. */
  abandonOutput(): void;
  /** Writes out what is buffered and puts the terminal back. Idempotent. */
  close(): Promise<void>;
  /** Puts the terminal back at once, for a process about to end. */
  restore(): void;
  /** How a line of ours ends on the terminal in its present mode. */
  readonly lineEnd: string;
}

const STDIN = 0;
const STDOUT = 1;

/** Opening standard input takes milliseconds: the guest's first words do not wait for it. */
const INPUT_DELAY_MS = 10;

/** True when the descriptor is a terminal. */
export function isTerminal(fd: number): boolean {
  // Most often this is enough, and saves loading `node:tty` (see scripts/bundle.ts).
  return fstatSync(fd).isCharacterDevice() && isatty(fd);
}

/** Standard output that never blocks the event loop where that can be had. */
function openStdout(): Writable {
  const kind = fstatSync(STDOUT);
  if (!kind.isFIFO() && !kind.isSocket()) return process.stdout;
  // Node writes to pipes synchronously: a reader that stalls would stall every vCPU's slow exits.
  return new Socket({ fd: STDOUT, readable: false });
}

class StdioConsole implements HostConsole {
  readonly #raw: boolean;
  readonly #guard: TerminalGuard | undefined;
  readonly #keys: EscapeKeys | undefined;
  #stream: Writable | undefined;
  #receive: ((bytes: Uint8Array) => boolean) | undefined;
  #reading = false;
  /** Output goes nowhere: the reader has gone, or is not waited for any more. */
  readonly #abandoned = Promise.withResolvers<void>();
  #broken = false;
  #restored = false;

  constructor(raw: boolean, guard: TerminalGuard | undefined, onExit: () => void) {
    this.#raw = raw;
    this.#guard = guard;
    this.#keys = raw
      ? new EscapeKeys((action) => (action === 'exit' ? onExit() : this.#showHelp()))
      : undefined;
    if (raw) process.stdin.setRawMode(true);
  }

  get lineEnd(): string {
    return this.#raw && !this.#restored ? '\r\n' : '\n';
  }

  write(bytes: Uint8Array): boolean {
    if (this.#broken) return true;
    let rest = bytes;
    // Node's streams take milliseconds to load: most guests never fill a pipe and need none.
    if (this.#stream === undefined) rest = bytes.subarray(writeNow(STDOUT, bytes));
    return rest.byteLength === 0 || this.#output().write(rest);
  }

  onceDrained(): Promise<void> {
    const stream = this.#stream;
    if (this.#broken || !stream?.writableNeedDrain) return Promise.resolve();
    const drained = new Promise<void>((resolve) => {
      stream.once('drain', resolve);
    });
    return Promise.race([drained, this.#abandoned.promise]);
  }

  abandonOutput(): void {
    this.#broken = true;
    this.#abandoned.resolve();
  }

  startInput(receive: (bytes: Uint8Array) => boolean): void {
    this.#receive = receive;
    setTimeout(() => this.#openInput(), INPUT_DELAY_MS);
  }

  #openInput(): void {
    if (this.#receive === undefined) return;
    if (!this.#reading) {
      this.#reading = true;
      process.stdin.on('data', (chunk: Buffer) => {
        const bytes = this.#keys?.filter(chunk) ?? chunk;
        if (bytes.byteLength > 0 && this.#receive?.(bytes) === false) process.stdin.pause();
      });
      // A terminal that hangs up: SIGHUP says so as well.
      process.stdin.on('error', () => {});
    }
    process.stdin.resume();
  }

  #output(): Writable {
    if (this.#stream === undefined) {
      this.#stream = openStdout();
      // The reader has gone (`| head`): the guest runs on, and its output goes nowhere.
      this.#stream.on('error', () => this.abandonOutput());
    }
    return this.#stream;
  }

  resumeInput(): void {
    process.stdin.resume();
  }

  restore(): void {
    if (this.#restored) return;
    this.#restored = true;
    if (!this.#raw) return;
    process.stdin.setRawMode(false);
    this.#guard?.dismiss();
  }

  async close(): Promise<void> {
    if (this.#reading) process.stdin.pause();
    this.#receive = undefined;
    const stream = this.#stream;
    if (!this.#broken && stream !== undefined && stream.writableLength > 0) {
      const written = new Promise<void>((resolve) => {
        stream.write('', () => resolve());
      });
      await Promise.race([written, this.#abandoned.promise]);
    }
    this.restore();
  }

  #showHelp(): void {
    this.write(Buffer.from(`\r\n${ESCAPE_HELP.join('\r\n')}\r\n`));
  }
}

class FileConsole implements HostConsole {
  readonly lineEnd = '\n';
  readonly #fd: number | undefined;
  #closed = false;

  /** @param path the file to create or empty; undefined: output goes nowhere */
  constructor(path: string | undefined) {
    try {
      this.#fd = path === undefined ? undefined : openSync(path, 'w', 0o644);
    } catch (cause) {
      throw new TsvmError('file-unreadable', `${path} cannot be written: choose another file`, {
        cause,
      });
    }
  }

  write(bytes: Uint8Array): boolean {
    if (this.#fd === undefined) return true;
    for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
    return true;
  }

  onceDrained(): Promise<void> {
    return Promise.resolve();
  }

  startInput(): void {}

  resumeInput(): void {}

  restore(): void {}

  abandonOutput(): void {}

  close(): Promise<void> {
    if (this.#fd !== undefined && !this.#closed) closeSync(this.#fd);
    this.#closed = true;
    return Promise.resolve();
  }
}

/**
 * Opens the console. A terminal is put in raw mode here, and must be closed or restored on every
 * way out.
 * @param onExit the user pressed the keys that end the machine
 * @throws TsvmError `invalid-config` for `tty` without a terminal, `file-unreadable` for a file
 */
export async function openHostConsole(
  console: ConsoleKind,
  onExit: () => void,
): Promise<HostConsole> {
  switch (console.kind) {
    case 'none':
      return new FileConsole(undefined);
    case 'file':
      return new FileConsole(console.path);
    case 'stdio':
      return new StdioConsole(false, undefined, onExit);
    case 'tty':
      if (!isTerminal(STDIN)) {
        throw new TsvmError(
          'invalid-config',
          'standard input is no terminal: use --console stdio for a pipe or a file',
        );
      }
      return new StdioConsole(true, await TerminalGuard.start(STDIN), onExit);
  }
}
