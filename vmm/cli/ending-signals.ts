/** Signals with which the system or the user terminates a program. */
export type EndingSignal = 'SIGTERM' | 'SIGHUP' | 'SIGINT' | 'SIGQUIT';

/** Their numbers; `node:os` has them too, but takes a start half a millisecond to load. */
const NUMBERS: Readonly<Record<EndingSignal, number>> = {
  SIGTERM: 15,
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
};
const ENDING_SIGNALS = Object.keys(NUMBERS) as EndingSignal[];

/** The signal's number on Linux (signal(7)). */
export function numberOfSignal(signal: EndingSignal): number {
  return NUMBERS[signal];
}

/**
 * The signals that end this process. SIGHUP is not among them if it was ignored at start, as with
 * nohup(1). `bin/tsvm` passes that on, because Node resets the disposition.
 */
export function endingSignals(): readonly EndingSignal[] {
  const { TSVM_SIGHUP } = process.env;
  return ENDING_SIGNALS.filter((signal) => signal !== 'SIGHUP' || TSVM_SIGHUP !== 'ignored');
}

/** Keeps SIGHUP ignored if it was ignored at start. Call this first. */
export function keepHangupIgnored(): void {
  if (!endingSignals().includes('SIGHUP')) process.on('SIGHUP', () => {});
}
