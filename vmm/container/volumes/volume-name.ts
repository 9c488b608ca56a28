import { TsvmError } from '../../errors.ts';
import { randomHex } from '../../host/random.ts';

/** What Docker's local driver allows. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
/** NAME_MAX of Linux. */
const NAME_LENGTH_MAX = 255;

/** @throws TsvmError `invalid-container` with Docker's message */
export function checkVolumeName(name: string): void {
  if (name.length === 1) {
    throw refused(
      name,
      'volume name is too short, names should be at least two alphanumeric characters',
    );
  }
  if (!NAME.test(name)) {
    throw refused(
      name,
      `${JSON.stringify(name)} includes invalid characters for a local volume name, only ` +
        '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use ' +
        'absolute path',
    );
  }
  if (name.length > NAME_LENGTH_MAX) {
    throw refused(name, `the name has more than ${NAME_LENGTH_MAX} characters`);
  }
}

function refused(name: string, reason: string): TsvmError {
  return new TsvmError('invalid-container', `create ${name}: ${reason}`);
}

/** Of a volume that its user gave no name. */
export function anonymousVolumeName(): string {
  return randomHex(32);
}
