import { formatFixed } from '../util/c-numbers.ts';

/** How far a piece of work is, for whoever waits for it. */
export interface Progress {
  update(done: number, total: number): void;
  /** Leaves the screen as the next line of output needs it. */
  end(): void;
}

export interface ProgressOptions {
  /** What is done, in a word. */
  readonly title: string;
  /** Nothing is shown. */
  readonly quiet: boolean;
  /** Asked for: shown though no one may be looking. */
  readonly asked: boolean;
}

const INTERVAL_MS = 100;
const BAR_COLUMNS = 30;
const BAR_COLUMNS_MIN = 4;

/**
 * When it was asked for, what `qemu-img -p` writes, where a program may read it; else a bar where
 * standard error is a terminal.
 */
export function openProgress({ title, quiet, asked }: ProgressOptions): Progress {
  if (quiet) return { update: () => {}, end: () => {} };
  if (asked && !process.stdout.isTTY) return new PercentLines();
  if (process.stderr.isTTY) return new TerminalBar(title);
  if (asked) return new PercentLines();
  return { update: () => {}, end: () => {} };
}

class TerminalBar implements Progress {
  readonly #title: string;
  readonly #startMs = performance.now();
  #shownMs = 0;
  #shown = false;

  constructor(title: string) {
    this.#title = title;
  }

  update(done: number, total: number): void {
    const nowMs = performance.now();
    if (done < total && nowMs - this.#shownMs < INTERVAL_MS) return;
    this.#shownMs = nowMs;
    const share = total === 0 ? 1 : done / total;
    const percent = `${Math.floor(share * 100)}%`.padStart(4);
    const leftSeconds = ((nowMs - this.#startMs) / 1000 / share) * (1 - share);
    const left = share > 0 && share < 1 ? `${Math.ceil(leftSeconds)} s left` : '';
    process.stderr.write(`\r\x1b[K${fitted(this.#title, share, percent, left)}`);
    this.#shown = true;
  }

  end(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
  }
}

/** A line that does not wrap, however narrow the terminal is: what wraps cannot be taken back. */
function fitted(title: string, share: number, percent: string, left: string): string {
  const columns = (process.stderr.columns || 80) - 1;
  const room = columns - title.length - percent.length - left.length - ' []  '.length;
  const length = Math.min(BAR_COLUMNS, room);
  if (length < BAR_COLUMNS_MIN) return `${title}${percent}`.slice(-Math.max(columns, 0));
  const bar = '#'.repeat(Math.round(share * length)).padEnd(length, '.');
  return `${title} [${bar}]${percent}  ${left}`;
}

class PercentLines implements Progress {
  #percent = -1;

  update(done: number, total: number): void {
    const percent = total === 0 ? 100 : (done / total) * 100;
    // As often as qemu-img by default: at each whole percent.
    if (percent < 100 && percent - this.#percent < 1) return;
    this.#percent = percent;
    process.stdout.write(`    (${formatFixed(percent, 2)}/100%)\r`);
  }

  end(): void {
    if (this.#percent >= 0) process.stdout.write('\n');
  }
}
