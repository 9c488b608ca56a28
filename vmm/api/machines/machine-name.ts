import { TsvmError } from '../../errors.ts';

/**
 * Docker's rule for names, with a maximum length. It excludes `.`, `..`, `/`, spaces and control
 * characters.
 */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$/;

export function isMachineName(name: string): boolean {
  return NAME.test(name);
}

/** @throws TsvmError `invalid-config` */
export function checkMachineName(name: string): string {
  if (isMachineName(name)) return name;
  throw new TsvmError(
    'invalid-config',
    `${JSON.stringify(name)} is not a valid name of a machine: use up to 64 letters, digits, "_", "." ` +
      'and "-", beginning with a letter or a digit',
  );
}
