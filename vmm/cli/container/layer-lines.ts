import { isTerminal } from '../output-descriptor.ts';
import { print } from '../standard-streams.ts';
import { shortId } from './units.ts';

const STDOUT = 1;
/** How often the screen is drawn. */
const INTERVAL_MS = 100;
const BAR_COLUMNS = 50;

/**
 * A line a layer: on a terminal they are drawn again as they change; elsewhere a line is printed
 * when a layer's state changes, and bars are not.
 */
export class LayerLines {
  readonly #quiet: boolean;
  readonly #isTerminal: boolean;
  readonly #lines = new Map<string, string>();
  readonly #states = new Map<string, string>();
  #drawnLines = 0;
  #drawnMs = 0;

  constructor(quiet: boolean) {
    this.#quiet = quiet;
    this.#isTerminal = isTerminal(STDOUT);
  }

  /** Prints a line above those of the layers. */
  print(line: string): void {
    if (!this.#quiet) print(`${line}\n`);
  }

  /** A layer is in this state. */
  state(digest: string, state: string): void {
    if (this.#quiet || this.#states.get(digest) === state) return;
    this.#states.set(digest, state);
    this.#lines.set(digest, `${shortId(digest)}: ${state}`);
    if (this.#isTerminal) this.#draw();
    else print(`${shortId(digest)}: ${state}\n`);
  }

  /** A layer in this state is so far; only a terminal shows it. */
  bar(digest: string, state: string, bytes: number, totalBytes: number, sizes: string): void {
    if (this.#quiet || !this.#isTerminal) return;
    const share = totalBytes === 0 ? 1 : Math.min(1, bytes / totalBytes);
    const filled = Math.floor(share * BAR_COLUMNS);
    const bar = `${'='.repeat(filled)}>`.slice(0, BAR_COLUMNS).padEnd(BAR_COLUMNS);
    this.#states.set(digest, state);
    this.#lines.set(digest, `${shortId(digest)}: ${state.padEnd(12)}[${bar}]  ${sizes}`);
    if (performance.now() - this.#drawnMs >= INTERVAL_MS) this.#draw();
  }

  /** Leaves the final state on the screen; further output is printed below it. */
  end(): void {
    if (this.#isTerminal && this.#drawnLines > 0) this.#draw();
    this.#drawnLines = 0;
  }

  #draw(): void {
    this.#drawnMs = performance.now();
    const columns = process.stdout.columns || 80;
    const up = this.#drawnLines > 0 ? `\x1b[${this.#drawnLines}A` : '';
    const lines = [...this.#lines.values()].map((line) => `\x1b[2K${line.slice(0, columns - 1)}\n`);
    this.#drawnLines = lines.length;
    print(up + lines.join(''));
  }
}
