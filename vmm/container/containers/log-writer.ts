import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import type { LogSettings } from './container-config.ts';
import { encodeEnd, encodeEntry, type LogStream } from './log-format.ts';

const LINE_FEED = 0x0a;
/** A line is kept together up to this length; its rest follows as another entry. */
const LINE_MAX_BYTES = 2 ** 20;
/** A prompt without a line feed is in the log after this time. */
const PARTIAL_MS = 100;

/** Writes what a container says to its log, a line an entry. */
export class LogWriter {
  readonly #path: string;
  readonly #settings: LogSettings;
  readonly #onFailure: (error: unknown) => void;
  readonly #partial: Record<LogStream, Buffer[]> = { stdout: [], stderr: [] };
  readonly #partialBytes: Record<LogStream, number> = { stdout: 0, stderr: 0 };
  #fd: number | undefined;
  #sizeBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #failed = false;

  /** @param onFailure called once when the log cannot be written, e.g. because the disk is full */
  constructor(path: string, settings: LogSettings, onFailure: (error: unknown) => void) {
    this.#path = path;
    this.#settings = settings;
    this.#onFailure = onFailure;
  }

  write(stream: LogStream, bytes: Buffer): void {
    if (this.#settings.driver === 'none' || bytes.byteLength === 0) return;
    const end = bytes.lastIndexOf(LINE_FEED) + 1;
    if (end > 0) this.#append(this.#encode(stream, bytes.subarray(0, end)));
    if (end < bytes.byteLength) this.#keep(stream, bytes.subarray(end));
  }

  /** All output is there. */
  end(): void {
    if (this.#settings.driver === 'none') return;
    this.flush();
    this.#append(encodeEnd(new Date().toISOString()));
  }

  /** Writes what has no line feed yet. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const time = new Date().toISOString();
    for (const stream of ['stdout', 'stderr'] as const) {
      const partial = this.#take(stream);
      if (partial.byteLength > 0) this.#append(encodeEntry(stream, partial, time));
    }
  }

  close(): void {
    this.flush();
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** @param bytes ends with a line feed */
  #encode(stream: LogStream, bytes: Buffer): string {
    const time = new Date().toISOString();
    let text = '';
    let rest = bytes;
    if (this.#partialBytes[stream] > 0) {
      const first = rest.indexOf(LINE_FEED) + 1;
      text += encodeEntry(
        stream,
        Buffer.concat([this.#take(stream), rest.subarray(0, first)]),
        time,
      );
      rest = rest.subarray(first);
    }
    for (let at = 0; at < rest.byteLength; ) {
      const end = rest.indexOf(LINE_FEED, at) + 1;
      text += encodeEntry(stream, rest.subarray(at, end), time);
      at = end;
    }
    return text;
  }

  #keep(stream: LogStream, bytes: Buffer): void {
    // The reader of the stream may use the memory again.
    this.#partial[stream].push(Buffer.from(bytes));
    this.#partialBytes[stream] += bytes.byteLength;
    if (this.#partialBytes[stream] >= LINE_MAX_BYTES) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), PARTIAL_MS).unref();
  }

  #take(stream: LogStream): Buffer {
    const [first, ...others] = this.#partial[stream];
    this.#partial[stream] = [];
    this.#partialBytes[stream] = 0;
    if (first === undefined) return Buffer.alloc(0);
    return others.length === 0 ? first : Buffer.concat([first, ...others]);
  }

  #append(text: string): void {
    const { maxBytes } = this.#settings;
    try {
      this.#fd ??= this.#open();
      if (maxBytes !== undefined && this.#sizeBytes >= maxBytes) this.#rotate();
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.byteLength; ) at += writeSync(this.#fd, bytes, at);
      this.#sizeBytes += bytes.byteLength;
      this.#failed = false;
    } catch (error) {
      // The container goes on without its log, as it would with a full disk of its own.
      if (!this.#failed) this.#onFailure(error);
      this.#failed = true;
    }
  }

  #open(): number {
    const fd = openSync(this.#path, 'a', 0o600);
    this.#sizeBytes = fstatSync(fd).size;
    return fd;
  }

  #rotate(): void {
    const { maxFiles } = this.#settings;
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    for (let number = maxFiles - 1; number >= 1; number--) {
      const from = number === 1 ? this.#path : `${this.#path}.${number - 1}`;
      try {
        renameSync(from, `${this.#path}.${number}`);
      } catch {
        // There are fewer files so far.
      }
    }
    if (maxFiles <= 1) rmSync(this.#path, { force: true });
    this.#fd = this.#open();
  }
}
