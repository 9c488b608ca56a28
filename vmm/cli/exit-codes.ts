/** Exit codes of `tsvm boot`; the README lists them. */
export const EXIT_POWEROFF = 0;
/** The guest's kernel panicked, or a vCPU had a triple fault. */
export const EXIT_GUEST_CRASHED = 1;
/** The command line is invalid. */
export const EXIT_USAGE = 2;
/** tsvm itself failed: no KVM, an unreadable file, a failed system call. */
export const EXIT_OUR_FAILURE = 125;

/** 128 + N, as shells report a process that was killed by signal N. */
export function exitCodeOfSignal(signalNumber: number): number {
  return 128 + signalNumber;
}
