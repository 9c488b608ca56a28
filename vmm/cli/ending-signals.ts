/** The signals by which the system or the user ends a program. */
export type EndingSignal = 'SIGTERM' | 'SIGHUP' | 'SIGINT' | 'SIGQUIT';

const ENDING_SIGNALS: readonly EndingSignal[] = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT'];

/**
 * The signals that end the program. SIGHUP stays ignored where it was when we were started, as
 * nohup(1) has it; `bin/tsvm` tells, since Node changes it.
 */
export function endingSignals(): readonly EndingSignal[] {
  const { TSVM_SIGHUP } = process.env;
  return ENDING_SIGNALS.filter((signal) => signal !== 'SIGHUP' || TSVM_SIGHUP !== 'ignored');
}

/** Keeps SIGHUP ignored where it was; a program calls this before all else. */
export function keepHangupIgnored(): void {
  if (!endingSignals().includes('SIGHUP')) process.on('SIGHUP', () => {});
}
