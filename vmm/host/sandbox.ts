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

/** What a process needs after its machine has been set up. */
export interface ProcessNeeds {
  /** Connect to sockets in the file system: the guest reaches listeners by virtio-vsock. */
  readonly connects: boolean;
}

/**
 * Confines the whole process for good, as {@link confineThreads} does its machines' threads: it starts no
 * more programs, opens no network sockets, touches no other process. Call it when a machine is set up and
 * before it starts.
 * @throws TsvmError `sandbox-unavailable`, also if a confined machine has already run
 */
export function confineProcess(needs: ProcessNeeds): void {
  try {
    loadAddon().confineProcess(needs);
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
