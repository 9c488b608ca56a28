import { CommanderError } from 'commander';
import { errorText, TsvmError } from '../errors.ts';
import { keepHangupIgnored } from './ending-signals.ts';
import { EXIT_OUR_FAILURE, EXIT_USAGE } from './exit-codes.ts';
import { flushStandardStreams, printMessage } from './standard-streams.ts';

let onFault = (error: unknown): void => {
  process.exit(reportError(error));
};

/**
 * Takes what is thrown where nobody catches it. By default the process ends with
 * {@link EXIT_OUR_FAILURE}; Node's own exit code for it, 1, means something else here.
 */
export function handleFaults(handler: (error: unknown) => void): void {
  onFault = handler;
}

/** Ends the process with the exit code that a program answers, or that fits its error. */
export function runToExit(program: () => Promise<number>): void {
  keepHangupIgnored();
  process.on('uncaughtException', (error) => onFault(error));
  program()
    .catch(reportError)
    .then(async (code) => {
      const written = await flushStandardStreams();
      process.exit(written || code !== 0 ? code : EXIT_OUR_FAILURE);
    });
}

function reportError(error: unknown): number {
  // Commander has printed its message; help and version come this way too, with code 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const notAllowed = error instanceof TsvmError && error.code === 'file-not-allowed';
  const usage = error instanceof TsvmError && error.code === 'invalid-config';
  // `tsvm image` has said by itself what is its own.
  const advice = notAllowed ? ' (--disk FILE,backing=allow)' : '';
  printMessage(`tsvm: ${errorText(error)}${advice}\n`);
  return notAllowed || usage ? EXIT_USAGE : EXIT_OUR_FAILURE;
}
