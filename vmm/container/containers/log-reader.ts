import { closeSync, fstatSync, openSync, readSync, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { hasCode } from '../../util/error-code.ts';
import { decodeLine, type LogEntry } from './log-format.ts';

export interface ReadLogOptions {
  readonly follow: boolean;
  /** Only entries from then on, in ms since 1970. */
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  /** Only so many of the last lines, and what follows; undefined: all. */
  readonly tail?: number | undefined;
  /** Asked at the end of the log: false once the container has ended. */
  isRunning(): boolean;
  /** Called at the end of the log, before waiting for more. */
  onPause?(): Promise<void>;
  readonly signal?: AbortSignal | undefined;
}

const CHUNK_BYTES = 256 * 1024;
const LINE_FEED = 0x0a;
const FILES_MAX = 1000;
/** How often a follower looks whether the container's supervisor still lives. */
const ALIVE_CHECK_MS = 1000;

/**
 * The entries of a log, oldest first. With `follow`, ends when the container has ended and everything
 * was read.
 */
export async function* readLog(path: string, options: ReadLogOptions): AsyncGenerator<LogEntry> {
  const { sinceMs = 0, untilMs = Number.POSITIVE_INFINITY, tail, follow, signal } = options;
  using position = new LogPosition(path);
  if (tail !== undefined) position.skipToTail(tail);
  using changes = follow ? new FolderChanges(dirname(path), signal) : undefined;
  for (;;) {
    // Asked before reading: what was written before the end is read then.
    const mayGrow = follow && options.isRunning();
    for (const line of position.lines()) {
      const entry = decodeLine(line);
      if (entry === undefined || entry === 'end' || entry.timeMs < sinceMs) continue;
      if (entry.timeMs > untilMs) return;
      yield entry;
    }
    if (!mayGrow || signal?.aborted || Date.now() > untilMs) return;
    await options.onPause?.();
    await changes?.next();
  }
}

/** Resolves when something in a folder has changed, or after a while. */
class FolderChanges implements Disposable {
  readonly #watcher;
  readonly #signal: AbortSignal | undefined;
  #wake = () => {};
  #changed = true;

  constructor(folder: string, signal: AbortSignal | undefined) {
    this.#signal = signal;
    const changed = () => {
      this.#changed = true;
      this.#wake();
    };
    this.#watcher = watch(folder, { persistent: false }, changed);
    this.#watcher.on('error', () => {});
    signal?.addEventListener('abort', changed);
  }

  async next(): Promise<void> {
    if (!this.#changed && this.#signal?.aborted !== true) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, ALIVE_CHECK_MS);
      await promise;
      clearTimeout(timer);
    }
    this.#changed = false;
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
  }
}

/** A place in a log, which goes over from a file that was rotated to the next. */
class LogPosition implements Disposable {
  readonly #path: string;
  #fd: number | undefined;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(path: string) {
    this.#path = path;
    this.#open(this.#files().at(-1));
  }

  /** All complete lines up to the end of the log. */
  *lines(): Generator<string> {
    if (this.#fd === undefined) this.#open(this.#files().at(-1));
    for (;;) {
      yield* this.#linesOfFile();
      const next = this.#nextFile();
      if (next === undefined) return;
      // Nothing is appended to a rotated file, but this was perhaps read before the last was.
      yield* this.#linesOfFile();
      this.#open(next);
    }
  }

  /** Goes to where only `count` lines follow. */
  skipToTail(count: number): void {
    let missing = count;
    for (const path of this.#files()) {
      const fd = openSync(path, 'r');
      const offset = offsetOfTail(fd, missing);
      closeSync(fd);
      this.#open(path);
      this.#offset = offset.offset;
      missing -= offset.lines;
      if (missing <= 0) return;
    }
  }

  *#linesOfFile(): Generator<string> {
    if (this.#fd === undefined) return;
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (;;) {
      const count = readSync(this.#fd, chunk, 0, CHUNK_BYTES, this.#offset);
      if (count === 0) return;
      this.#offset += count;
      const bytes = Buffer.concat([this.#rest, chunk.subarray(0, count)]);
      const end = bytes.lastIndexOf(LINE_FEED) + 1;
      this.#rest = bytes.subarray(end);
      if (end > 0)
        yield* bytes
          .subarray(0, end - 1)
          .toString()
          .split('\n');
    }
  }

  /** Current and older files, the newest first. */
  #files(): string[] {
    const files: string[] = [];
    for (let number = 0; number < FILES_MAX; number++) {
      const path = number === 0 ? this.#path : `${this.#path}.${number}`;
      if (statSync(path, { throwIfNoEntry: false }) === undefined) break;
      files.push(path);
    }
    return files;
  }

  #nextFile(): string | undefined {
    if (this.#fd === undefined) return undefined;
    const { ino } = fstatSync(this.#fd);
    const files = this.#files();
    const at = files.findIndex((path) => statSync(path, { throwIfNoEntry: false })?.ino === ino);
    return at > 0 ? files[at - 1] : at < 0 ? files.at(-1) : undefined;
  }

  #open(path: string | undefined): void {
    this[Symbol.dispose]();
    this.#offset = 0;
    this.#rest = Buffer.alloc(0);
    if (path === undefined) return;
    try {
      this.#fd = openSync(path, 'r');
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** Where the last `count` lines of a file begin, and how many there are. */
function offsetOfTail(fd: number, count: number): { offset: number; lines: number } {
  const { size } = fstatSync(fd);
  if (count === 0) return { offset: size, lines: 0 };
  let lines = 0;
  let end = size;
  let rest = Buffer.alloc(0);
  while (end > 0) {
    const start = Math.max(0, end - CHUNK_BYTES);
    const chunk = Buffer.alloc(end - start);
    readSync(fd, chunk, 0, chunk.byteLength, start);
    const bytes = Buffer.concat([chunk, rest]);
    // The first line of the chunk may begin before it.
    let lineEnd = bytes.byteLength;
    for (;;) {
      const lineStart = bytes.lastIndexOf(LINE_FEED, lineEnd - 2) + 1;
      if (lineStart === 0 && start > 0) break;
      if (lineEnd > lineStart && endsLine(bytes.subarray(lineStart, lineEnd), lines === 0)) {
        if (lines === count) return { offset: start + lineEnd, lines };
        lines++;
      }
      if (lineStart === 0) break;
      lineEnd = lineStart;
    }
    rest = bytes.subarray(0, lineEnd);
    end = start;
  }
  return { offset: 0, lines };
}

/** Whether an entry is the last piece of a line of output; the log's last entry always is. */
function endsLine(line: Buffer, isLast: boolean): boolean {
  const entry = decodeLine(line.toString());
  if (entry === undefined || entry === 'end') return false;
  return isLast || entry.bytes.at(-1) === LINE_FEED;
}
