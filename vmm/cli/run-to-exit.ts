import { CommanderError } from 'commander';
import { TsvmError } from '../errors.ts';
import { EXIT_OUR_FAILURE, EXIT_USAGE } from './exit-codes.ts';

/** Ends the process with the exit code that a program answers, or that fits its error. */
export function runToExit(program: () => Promise<number>): void {
  program()
    .catch(reportError)
    .then((code) => process.exit(code));
}

function reportError(error: unknown): number {
  // Commander has printed its message; help and version come this way too, with code 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  if (error instanceof TsvmError) {
    const notAllowed = error.code === 'file-not-allowed';
    // `tsvm image` has said by itself what is its own.
    const advice = notAllowed ? ' (--disk FILE,backing=allow)' : '';
    process.stderr.write(`tsvm: ${error.message}${advice}\n`);
    return notAllowed || error.code === 'invalid-config' ? EXIT_USAGE : EXIT_OUR_FAILURE;
  }
  process.stderr.write(`tsvm: ${error instanceof Error ? error.stack : String(error)}\n`);
  return EXIT_OUR_FAILURE;
}
