/** Receives the progress of a build. */
export interface BuildProgress {
  /** Begins a step, for example `Compiling the kernel`. */
  begin(title: string): void;
  /** Reports the completed fraction of the current step, 0 to 1; never decreases. */
  advance(fraction: number): void;
  /** Ends the current step. */
  end(): void;
  /** Prints a permanent message. */
  note(text: string): void;
}

/** Interval between two progress lines without a terminal, in `ms`. */
const LINE_INTERVAL_MS = 10_000;
/** Interval between two updates of the bar on a terminal, in `ms`. */
const BAR_INTERVAL_MS = 200;
const BAR_WIDTH = 30;

/** Shows progress on a stream: a bar on a terminal, otherwise occasional lines. */
export class StreamProgress implements BuildProgress {
  readonly #stream: NodeJS.WriteStream;
  #title = '';
  #startedMs = 0;
  #reportedMs = 0;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  begin(title: string): void {
    this.#title = title;
    this.#startedMs = performance.now();
    this.#reportedMs = this.#startedMs;
    this.#stream.write(this.#stream.isTTY ? `${title} ...` : `${title} ...\n`);
  }

  advance(fraction: number): void {
    const nowMs = performance.now();
    const interval = this.#stream.isTTY ? BAR_INTERVAL_MS : LINE_INTERVAL_MS;
    if (nowMs - this.#reportedMs < interval) {
      return;
    }
    this.#reportedMs = nowMs;
    const percent = `${Math.floor(100 * fraction)}`.padStart(3);
    if (this.#stream.isTTY) {
      const filled = Math.round(BAR_WIDTH * fraction);
      const bar = '#'.repeat(filled) + '-'.repeat(BAR_WIDTH - filled);
      this.#stream.write(`\r\x1b[K${this.#title} [${bar}] ${percent} % ${this.#elapsed()}`);
    } else {
      this.#stream.write(`${this.#title}: ${percent} % after ${this.#elapsed()}\n`);
    }
  }

  end(): void {
    const text = `${this.#title}: done in ${this.#elapsed()}\n`;
    this.#stream.write(this.#stream.isTTY ? `\r\x1b[K${text}` : text);
  }

  note(text: string): void {
    this.#stream.write(`${this.#stream.isTTY ? '\r\x1b[K' : ''}${text}\n`);
  }

  #elapsed(): string {
    return `${((performance.now() - this.#startedMs) / 1000).toFixed(1)} s`;
  }
}
