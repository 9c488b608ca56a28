import { formatFixed } from '../util/c-numbers.ts';
import { isTerminal } from './output-descriptor.ts';
import { print, printMessage } from './standard-streams.ts';

/** Progress display of a long operation. */
export interface Progress {
  update(done: number, total: number): void;
  /** Clears or completes the progress line, so that other output can follow. */
  end(): void;
}

export interface ProgressOptions {
  /** Name of the operation, one word. */
  readonly title: string;
  /** Show nothing. */
  readonly quiet: boolean;
  /** Requested with `-p`: shown even without a terminal. */
  readonly asked: boolean;
}

const STDOUT = 1;
const STDERR = 2;
const INTERVAL_MS = 100;
const BAR_COLUMNS = 30;
const BAR_COLUMNS_MIN = 4;

/**
 * If requested, prints percentages like `qemu-img -p`, which programs can parse. Otherwise shows a
 * bar if standard error is a terminal.
 */
export function openProgress({ title, quiet, asked }: ProgressOptions): Progress {
  if (quiet) return { update: () => {}, end: () => {} };
  if (asked && !isTerminal(STDOUT)) return new PercentLines();
  if (isTerminal(STDERR)) return new TerminalBar(title);
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
    printMessage(`\r\x1b[K${fitted(this.#title, share, percent, left)}`);
    this.#shown = true;
  }

  end(): void {
    if (this.#shown) printMessage('\r\x1b[K');
  }
}

/** Fits the line into the terminal's width, because a wrapped line could not be overwritten. */
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
    // At every whole percent, qemu-img's default.
    if (percent < 100 && percent - this.#percent < 1) return;
    this.#percent = percent;
    print(`    (${formatFixed(percent, 2)}/100%)\r`);
  }

  end(): void {
    if (this.#percent >= 0) print('\n');
  }
}
