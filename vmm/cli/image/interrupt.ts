import { constants } from 'node:os';
import { endingSignals } from '../ending-signals.ts';
import { exitCodeOfSignal } from '../exit-codes.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Signals that ask the process to end. */
class Interruption extends Error {
  readonly signalNumber: number;

  constructor(signal: (typeof SIGNALS)[number]) {
    super(`interrupted by ${signal}`);
    this.signalNumber = constants.signals[signal];
  }
}

/**
 * Runs work that cleans up after itself: a signal to end only aborts `signal`.
 * @returns the work's exit code, or the signal's if that ended it
 */
export async function interruptible(
  work: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const controller = new AbortController();
  const { signal } = controller;
  const abort = (name: (typeof SIGNALS)[number]) => controller.abort(new Interruption(name));
  // The handlers stay: the process ends soon after the work, and its exit code tells why.
  const ending = endingSignals();
  for (const name of SIGNALS) if (ending.includes(name)) process.on(name, abort);
  try {
    return await work(signal);
  } catch (error) {
    if (error instanceof Interruption) return exitCodeOfSignal(error.signalNumber);
    throw error;
  }
}
