import { constants } from 'node:os';

/** The errno, positive, with which a failure ends a request: the host's own, else EIO. */
export function diskErrno(error: unknown): number {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    // Node's system errors carry it negated.
    if ('errno' in cause && typeof cause.errno === 'number') return Math.abs(cause.errno);
  }
  return constants.errno.EIO;
}
