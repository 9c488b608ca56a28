import { constants } from 'node:os';
import { setEndDeadline } from '../host/end-deadline.ts';
import { endingSignals } from './ending-signals.ts';
import { exitCodeOfSignal } from './exit-codes.ts';

/** A machine's parts have so long to end in good order, from the signal on. */
const ORDERLY_MS = 1500;
/** Then the process ends, whatever else it does. */
const DEADLINE_MS = 1800;

/** How a running machine is asked to end: by a signal, by the user's keys, by a fault of ours. */
export class Ending {
  readonly #stop = new AbortController();
  #code: number | undefined;

  /**
   * Takes the signals over. From the first of them on the process ends within two seconds, and at
   * once when it comes again.
   * @param onLate called when the time for an orderly end is over; the process ends after it
   */
  constructor(onLate: () => void) {
    const signals = endingSignals();
    for (const signal of signals) {
      process.on(signal, () => this.#end(exitCodeOfSignal(constants.signals[signal]), onLate));
    }
    setEndDeadline(
      signals.map((signal) => constants.signals[signal]),
      DEADLINE_MS,
    );
  }

  /** Aborted when the machine is to end. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** The exit code, once something has asked for the end. */
  get code(): number | undefined {
    return this.#code;
  }

  /** As SIGTERM. */
  request(): void {
    process.kill(process.pid, 'SIGTERM');
  }

  /** Ends the machine with another exit code than a signal's. */
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
