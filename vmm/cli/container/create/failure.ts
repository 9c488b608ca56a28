import { TsvmError } from '../../../errors.ts';
import { printMessage } from '../../standard-streams.ts';
import { PullFailed } from '../choose-image.ts';
import { errorText } from '../error-text.ts';
import { UsageError } from '../verb.ts';
import { EXIT_BAD_OPTION } from './option-kinds.ts';

/**
 * Says why there is no container, in the form of Docker's client.
 * @param engineExitCode for what Docker's engine would have refused; `create` and `run` differ in it
 * @returns the exit code
 * @throws whatever has no such form
 */
export function reportFailure(error: unknown, verb: string, engineExitCode: number): number {
  // It has printed why.
  if (error instanceof PullFailed) return EXIT_BAD_OPTION;
  const isClients = error instanceof TsvmError && CLIENT_CODES.includes(error.code);
  if (error instanceof UsageError || isClients) {
    // With the verb's usage.
    if (/^invalid argument "/.test(error.message)) {
      throw new UsageError(error.message, EXIT_BAD_OPTION);
    }
    printMessage(failureText(error.message, verb));
    return EXIT_BAD_OPTION;
  }
  if (!(error instanceof TsvmError)) throw error;
  const message = errorText(error);
  printMessage(engineExitCode === EXIT_BAD_OPTION ? failureText(message, verb) : `${message}\n`);
  return engineExitCode;
}

/** Of what Docker's client finds out itself. */
const CLIENT_CODES = ['invalid-config', 'file-unreadable'];

export function failureText(message: string, verb: string): string {
  return `tsvm: ${message}\n\nRun 'tsvm ${verb} --help' for more information\n`;
}
