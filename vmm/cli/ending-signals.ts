/** Signals with which the system or the user terminates a program. */
export type EndingSignal = 'SIGTERM' | 'SIGHUP' | 'SIGINT' | 'SIGQUIT';

const ENDING_SIGNALS: readonly EndingSignal[] = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'];

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
