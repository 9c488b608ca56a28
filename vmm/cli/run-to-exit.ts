import type { CommanderError } from 'commander';
import { errorText, TsvmError } from '../errors.ts';
import { exitPromptly } from '../host/prompt-exit.ts';
import { keepHangupIgnored } from './ending-signals.ts';
import { EXIT_OUR_FAILURE, EXIT_USAGE } from './exit-codes.ts';
import { flushStandardStreams, printMessage } from './standard-streams.ts';

let onFault = (error: unknown): void => {
  process.exit(reportError(error));
};

/**
 * Handles uncaught errors. The default handler exits with {@link EXIT_OUR_FAILURE}, because Node's
 * own exit code, 1, means that the guest crashed.
 */
export function handleFaults(handler: (error: unknown) => void): void {
  onFault = handler;
}

/** Runs a program and exits with the code it returns, or with the code for its error. */
export function runToExit(program: () => Promise<number>): void {
  keepHangupIgnored();
  exitPromptly();
  process.on('uncaughtException', (error) => onFault(error));
  program()
    .catch(reportError)
    .then(async (code) => {
      const written = await flushStandardStreams();
      process.exit(written || code !== 0 ? code : EXIT_OUR_FAILURE);
    });
}

/** Without `instanceof`, which would load Commander into programs that parse no options. */
function isCommanderError(error: unknown): error is CommanderError {
  return error instanceof Error && 'code' in error && `${error.code}`.startsWith('commander.');
}

function reportError(error: unknown): number {
  // Commander has printed its message. Help and version also throw, with code 0.
  if (isCommanderError(error)) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const notAllowed = error instanceof TsvmError && error.code === 'file-not-allowed';
  const usage = error instanceof TsvmError && error.code === 'invalid-config';
  // `tsvm image` prints its own hint.
  const advice = notAllowed ? ' (--disk FILE,backing=allow)' : '';
  printMessage(`tsvm: ${errorText(error)}${advice}\n`);
  return notAllowed || usage ? EXIT_USAGE : EXIT_OUR_FAILURE;
}
