import type { NativeError } from '../../kvm-addon/index.d.ts';
import { TsvmError, type TsvmErrorCode } from '../errors.ts';

/** True for a failed system call in the addon. */
export function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && 'errno' in error && 'syscall' in error && 'code' in error;
}

/**
 * Runs `action` and converts a native error into a {@link TsvmError} with `code`.
 * @param what description of the action, e.g. "creating the virtual machine"
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
