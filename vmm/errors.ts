/** Kind of error, for programs to branch on. The message says what to do about it. */
export type TsvmErrorCode =
  /** An option or a configuration value is out of range or conflicts with another. */
  | 'invalid-config'
  /** A file does not exist, or cannot be read or written. */
  | 'file-unreadable'
  /** A disk image refers to a file outside its folder, and the user has not allowed that. */
  | 'file-not-allowed'
  /** A kernel image is truncated, malformed or of a kind that cannot be booted. */
  | 'invalid-kernel'
  /** The kernel's payload cannot be unpacked on this host (no tool for its format). */
  | 'cannot-decompress'
  /** An initrd does not fit in guest memory or below the kernel's limit. */
  | 'initrd-does-not-fit'
  /** The kernel command line is longer than the kernel accepts. */
  | 'cmdline-too-long'
  /** A disk has no kernel to boot, or not the one asked for. */
  | 'no-kernel-on-disk'
  /** A disk image is in use, malformed or cannot be served. */
  | 'invalid-disk'
  /** Another process holds the disk's lock. */
  | 'disk-locked'
  /** Reading or writing an image's file failed: the host's disk is full or broken. */
  | 'disk-io'
  /** /dev/kvm is missing, not permitted, or lacks a required capability. */
  | 'kvm-unavailable'
  /** A KVM or memory system call failed. */
  | 'kvm-failed'
  /** A tap device, passt or one of its ports is missing, in use or not permitted. */
  | 'network-unavailable'
  /** The kernel lacks a part of the sandbox, or refuses it. */
  | 'sandbox-unavailable'
  /** The machine's current state does not allow the operation. */
  | 'wrong-state'
  /** A saved state is damaged, or belongs to another version or machine configuration. */
  | 'invalid-state'
  /** A guest resource (address range, interrupt line) is in use or exhausted. */
  | 'resource-exhausted'
  /** Nobody in the guest accepts the connection. */
  | 'connection-refused'
  /** A running machine has that name. */
  | 'machine-exists'
  /** No running machine has that name. */
  | 'machine-not-found'
  /** A running machine does not answer on its control socket. */
  | 'machine-unreachable'
  /** A helper process that serves a device is missing, refused or failed. */
  | 'backend-failed'
  /** An image reference is malformed. */
  | 'invalid-reference'
  /** No local image has that name or ID. */
  | 'image-not-found'
  /** An image cannot be removed or renamed, because it is in use or the name is taken. */
  | 'image-conflict'
  /** An image, its archive or one of its layers is malformed or does not match its digest. */
  | 'invalid-image'
  /** A registry refused, failed or could not be reached. */
  | 'registry-failed'
  /** A registry requires a login or denies the operation. */
  | 'registry-denied'
  /** The image store cannot be read or written. */
  | 'store-failed'
  /** What is asked of a container, volume or network is contradictory or not supported. */
  | 'invalid-container'
  /** No volume has that name. */
  | 'volume-not-found'
  /** A volume is in use, or exists with other settings. */
  | 'volume-conflict'
  /** No network has that name or ID. */
  | 'network-not-found'
  /** A network is in use, its name is taken, or its addresses overlap with others. */
  | 'network-conflict'
  /** No container has that name or ID. */
  | 'container-not-found'
  /** A container's name is taken, or its state does not allow the operation. */
  | 'container-conflict'
  /** A container could not be started, or its machine failed. */
  | 'container-failed';

/** An error caused by the host or the user. Guest errors are never thrown. */
export class TsvmError extends Error {
  readonly code: TsvmErrorCode;

  constructor(code: TsvmErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'TsvmError';
    this.code = code;
  }
}

/** The message of a {@link TsvmError}; for other errors, which are bugs in tsvm, the stack trace. */
export function errorText(error: unknown): string {
  if (error instanceof TsvmError) return error.message;
  return (error instanceof Error ? error.stack : undefined) ?? String(error);
}
