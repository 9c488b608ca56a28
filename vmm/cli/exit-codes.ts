/** Exit codes of `tsvm boot`; the README lists them. */
export const EXIT_POWEROFF = 0;
/** The guest's kernel panicked, or a vCPU ended in a triple fault. */
export const EXIT_GUEST_CRASHED = 1;
/** The command line makes no sense. */
export const EXIT_USAGE = 2;
/** tsvm itself failed: no KVM, an unreadable file, a call that went wrong. */
export const EXIT_OUR_FAILURE = 125;

/** What a shell reports for a process that a signal ended. */
export function exitCodeOfSignal(signalNumber: number): number {
  return 128 + signalNumber;
}
