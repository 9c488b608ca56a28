import { setEndDeadline } from '../host/end-deadline.ts';
import { endingSignals, numberOfSignal } from './ending-signals.ts';
import { exitCodeOfSignal } from './exit-codes.ts';

/** Time from the signal for an orderly shutdown of the machine's parts. */
const ORDERLY_MS = 1500;
/** Time from the signal until the process is ended even if its event loop is blocked. */
const DEADLINE_MS = 1800;

/** Handles requests to end a running machine: a signal, Ctrl-A x, or an internal error. */
export class Ending {
  readonly #stop = new AbortController();
  #code: number | undefined;

  /**
   * Installs the signal handlers. The process ends within two seconds of the first signal, and
   * immediately when the signal is repeated.
   * @param onLate called when the orderly shutdown takes too long, just before the process exits
   */
  constructor(onLate: () => void) {
    const signals = endingSignals();
    for (const signal of signals) {
      process.on(signal, () => this.#end(exitCodeOfSignal(numberOfSignal(signal)), onLate));
    }
    setEndDeadline(signals.map(numberOfSignal), DEADLINE_MS);
  }

  /** Aborted when the machine must end. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The exit code; undefined until the end has been requested. */
  get code(): number | undefined {
    return this.#code;
  }

  /** Ends the machine as SIGTERM does. */
  request(): void {
    process.kill(process.pid, 'SIGTERM');
  }

  /** Ends the machine with the given exit code. */
  fail(code: number, onLate: () => void): void {
    this.#end(code, onLate);
  }

  #end(code: number, onLate: () => void): void {
    if (this.#code !== undefined) return;
    this.#code = code;
    setTimeout(() => {
      onLate();
      process.exit(code);
    }, ORDERLY_MS).unref();
    this.#stop.abort();
  }
}
