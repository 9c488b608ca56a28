/** Exit codes of `tsvm boot`. Its help and the README list {@link EXIT_CODES}. */
export const EXIT_POWEROFF = 0;
export const EXIT_GUEST_CRASHED = 1;
export const EXIT_USAGE = 2;
export const EXIT_OUR_FAILURE = 125;

/** The codes and their meanings. */
export const EXIT_CODES: readonly (readonly [code: string, meaning: string])[] = [
  [`${EXIT_POWEROFF}`, 'the guest powered off, or reset with --on-reboot exit'],
  [`${EXIT_GUEST_CRASHED}`, "the guest's kernel panicked, or a vCPU had a triple fault"],
  [`${EXIT_USAGE}`, 'invalid command line'],
  [`${EXIT_OUR_FAILURE}`, 'tsvm failed: no KVM, an unreadable file, a failed system call'],
  ['128 + N', 'signal N ended tsvm; Ctrl-A x counts as SIGTERM'],
];

/** The table for a help text. */
export function exitCodeLines(): string {
  return EXIT_CODES.map(([code, meaning]) => `  ${code.padEnd(7)}  ${meaning}`).join('\n');
}

/** 128 + N, as shells report a process that was killed by signal N. */
export function exitCodeOfSignal(signalNumber: number): number {
  return 128 + signalNumber;
}
