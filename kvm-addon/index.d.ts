/**
 * The API of the native addon. Only `vmm/kvm/` and `vmm/host/` load it. Each function checks its
 * arguments, calls the C core and converts the result.
 *
 * A failed system call is thrown as a {@link NativeError}. Wrong argument types throw `TypeError`.
 */
export interface NativeError extends Error {
  /** Errno name, e.g. `ENOENT`. */
  readonly code: string;
  /** Errno number, positive. */
  readonly errno: number;
  /** The system call or ioctl that failed, e.g. `KVM_CREATE_VM`. */
  readonly syscall: string;
}

export * from './types/host.js';
export * from './types/vm.js';
export * from './types/workers.js';
