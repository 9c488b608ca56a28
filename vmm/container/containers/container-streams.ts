import type { Readable } from 'node:stream';
import type { GuestProcess } from '../agent/agent.ts';
import type { LogStream } from './log-format.ts';

/** Who is attached to a process and sees its output. */
export interface StreamViewer {
  /** @returns false when it can take no more for now; it calls {@link ProcessStreams.resume} */
  write(stream: LogStream, bytes: Buffer): boolean;
}

/**
 * More than pipes and connections can hold when a process has ended: a guest that goes on sending is not
 * listened to.
 */
const REST_MAX_BYTES = 16 * 2 ** 20;

/** Where all output is kept; undefined for an exec. */
export interface OutputLog {
  write(stream: LogStream, bytes: Buffer): void;
}

/**
 * The streams of a process, shared by any number of viewers. The process waits for the slowest of them,
 * as at a pipe, but only while it lives: what it has left at its end is passed on at once, so that no
 * viewer delays the end.
 */
export class ProcessStreams {
  readonly #log: OutputLog | undefined;
  readonly #viewers = new Set<StreamViewer>();
  readonly #full = new Set<StreamViewer>();
  /** Input that came before there was a process. */
  readonly #early: Uint8Array[] = [];
  /** What ends the wait of those who write to standard input. */
  #onInputRoom: (() => void)[] = [];
  #process: GuestProcess | undefined;
  #inputEnded = false;
  #ending = false;
  /** Came since the end of the process. */
  #restBytes = 0;

  constructor(log?: OutputLog) {
    this.#log = log;
  }

  addViewer(viewer: StreamViewer): void {
    this.#viewers.add(viewer);
  }

  removeViewer(viewer: StreamViewer): void {
    this.#viewers.delete(viewer);
    this.resume(viewer);
  }

  /** A viewer can take more. */
  resume(viewer: StreamViewer): void {
    this.#full.delete(viewer);
    if (this.#full.size > 0) return;
    this.#process?.stdout.resume();
    this.#process?.stderr?.resume();
  }

  /** Passes the output of a process on. Resolves when all of it has been. */
  async connect(process: GuestProcess): Promise<void> {
    this.#process = process;
    this.#ending = false;
    process.ended.then(
      () => this.#passRest(),
      () => this.#passRest(),
    );
    const { stdin, stdout, stderr } = process;
    // The process may close it, or end, at any time.
    stdin?.on('error', () => this.#inputRoom());
    stdin?.on('drain', () => this.#inputRoom());
    stdin?.on('close', () => this.#inputRoom());
    for (const bytes of this.#early.splice(0)) stdin?.write(bytes);
    if (this.#inputEnded) stdin?.end();
    const done = [this.#pass(stdout, 'stdout')];
    if (stderr !== undefined) done.push(this.#pass(stderr, 'stderr'));
    this.#inputRoom();
    await Promise.all(done);
  }

  /** Writes to standard input. @returns false when the writer has to wait for {@link onceInputRoom} */
  input(bytes: Uint8Array): boolean {
    if (this.#inputEnded) return true;
    if (this.#process === undefined) {
      this.#early.push(bytes);
      return false;
    }
    const { stdin } = this.#process;
    return stdin === undefined || !stdin.writable || stdin.write(bytes);
  }

  /** Resolves when the process has read enough of its input, or needs no more. */
  onceInputRoom(): Promise<void> {
    const stdin = this.#process?.stdin;
    if (this.#process !== undefined && (stdin === undefined || !stdin.writableNeedDrain)) {
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onInputRoom.push(resolve);
    return promise;
  }

  /** The end of standard input. */
  endInput(): void {
    this.#inputEnded = true;
    this.#process?.stdin?.end();
  }

  #inputRoom(): void {
    for (const resolve of this.#onInputRoom.splice(0)) resolve();
  }

  #passRest(): void {
    this.#ending = true;
    this.#inputRoom();
    this.#process?.stdout.resume();
    this.#process?.stderr?.resume();
  }

  #pass(source: Readable, stream: LogStream): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    source.on('data', (bytes: Buffer) => {
      if (this.#ending) this.#restBytes += bytes.byteLength;
      if (this.#restBytes > REST_MAX_BYTES) source.destroy();
      this.#log?.write(stream, bytes);
      for (const viewer of this.#viewers) {
        if (!viewer.write(stream, bytes)) this.#full.add(viewer);
      }
      if (this.#full.size > 0 && !this.#ending) {
        this.#process?.stdout.pause();
        this.#process?.stderr?.pause();
      }
    });
    source.once('end', resolve);
    source.once('error', () => resolve());
    source.once('close', resolve);
    return promise;
  }
}
