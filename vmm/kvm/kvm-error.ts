import type { NativeError } from '../../kvm-addon/index.d.ts';
import { TsvmError, type TsvmErrorCode } from '../errors.ts';

/** True for an error that came from a failed system call in the addon. */
export function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && 'errno' in error && 'syscall' in error && 'code' in error;
}

/**
 * Runs `action`; a native failure becomes a TsvmError.
 * @param what what was being done, e.g. "creating the virtual machine"
 */
export function withKvmErrors<T>(
  what: string,
  action: () => T,
  code: TsvmErrorCode = 'kvm-failed',
): T {
  try {
    return action();
  } catch (cause) {
    if (!isNativeError(cause)) throw cause;
    throw new TsvmError(code, `${what}: ${cause.message} (${cause.code})`, { cause });
  }
}
