/** The sandbox of the process; `kvm-addon/src/sandbox/README.md` explains it. */
import { TsvmError } from '../errors.ts';
import { loadAddon } from './addon.ts';

/**
 * From now on, the threads of vCPUs and queue workers of this process run under a seccomp filter each. A
 * forbidden system call ends the process with code 125 and a message that names it. Idempotent.
 * @throws TsvmError `sandbox-unavailable`
 */
export function confineThreads(): void {
  try {
    loadAddon().confineThreads();
  } catch (cause) {
    throw unavailable(cause);
  }
}

function unavailable(cause: unknown): TsvmError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new TsvmError(
    'sandbox-unavailable',
    `the sandbox cannot be set up (${reason}): "tsvm doctor" tells what this host offers; ` +
      '--sandbox off runs the machine without it',
    { cause },
  );
}
