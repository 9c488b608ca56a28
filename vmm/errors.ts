/** What went wrong, for a program to branch on. The message says what to do about it. */
export type TsvmErrorCode =
  /** An option or a configuration value is out of range or contradicts another. */
  | 'invalid-config'
  /** A file that was named does not exist or cannot be read. */
  | 'file-unreadable'
  /** A disk image names a file outside its folder, and the user has not allowed that. */
  | 'file-not-allowed'
  /** A kernel image is truncated, malformed or of a kind that cannot be booted. */
  | 'invalid-kernel'
  /** The kernel's payload cannot be unpacked on this host (no tool for its format). */
  | 'cannot-decompress'
  /** An initrd does not fit in guest memory or below the kernel's limit. */
  | 'initrd-does-not-fit'
  /** The kernel command line is longer than the kernel accepts. */
  | 'cmdline-too-long'
  /** A disk image is in use, malformed or cannot be served. */
  | 'invalid-disk'
  /** Another process holds the disk's lock. */
  | 'disk-locked'
  /** Reading or writing an image's file failed: the host's disk is full or broken. */
  | 'disk-io'
  /** /dev/kvm is missing, forbidden, or lacks something that is needed. */
  | 'kvm-unavailable'
  /** A KVM or memory system call failed. */
  | 'kvm-failed'
  /** An operation that the machine's present state does not allow. */
  | 'wrong-state'
  /** A saved state is damaged, of another version, or of a machine with another configuration. */
  | 'invalid-state'
  /** A guest resource (address range, interrupt line) is taken or used up. */
  | 'resource-exhausted'
  /** What should name an image does not: it is malformed. */
  | 'invalid-reference'
  /** No image here has that name or ID. */
  | 'image-not-found'
  /** An image cannot be removed or named like that as things stand. */
  | 'image-conflict'
  /** An image, its archive or one of its layers is malformed, or not what its digest says. */
  | 'invalid-image'
  /** A registry refused, failed or could not be reached. */
  | 'registry-failed'
  /** A registry wants a login, or does not allow this. */
  | 'registry-denied'
  /** The image store cannot be read or written. */
  | 'store-failed';

/** A mistake of the host or the user. A guest's mistake is never thrown. */
export class TsvmError extends Error {
  readonly code: TsvmErrorCode;

  constructor(code: TsvmErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'TsvmError';
    this.code = code;
  }
}

/** An error for whoever has to mend it: a sentence, or a stack where that is tsvm's developers. */
export function errorText(error: unknown): string {
  if (error instanceof TsvmError) return error.message;
  return (error instanceof Error ? error.stack : undefined) ?? String(error);
}
