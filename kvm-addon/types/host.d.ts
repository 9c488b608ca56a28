/** Calls of the host's kernel that Node has not, and what it can do. */

/** Result of {@link probeHost}. */
export interface NativeHostProbe {
  /** True when KVM's instruction emulator runs guest kernel code (kvm-pvm). */
  emulatesKernelMode: boolean;
  /** True when {@link NativeVmOptions.kernelModeEngine} works on this kvm-pvm. */
  interpreterWorks: boolean;
}
/** Fills the bytes from getrandom(2). */
export function fillRandom(bytes: Uint8Array): void;
/** The SHA-256 by Node's OpenSSL; undefined if Node does not export it. */
export function sha256(bytes: Uint8Array): Uint8Array | undefined;
/** Runs a temporary VM for about a millisecond to find out what kind of KVM this is. */
export function probeHost(devicePath: string): NativeHostProbe;
/** KVM_CHECK_EXTENSION. */
export function checkExtension(devicePath: string, capability: number): number;
/** True when this process may use io_uring. */
export function probeIoUring(): boolean;
/**
 * Sets up the rings of disks beforehand, for a process that may set up no more: `count` that one worker
 * uses each, and as many for the workers after these. When all are in use, disks use threads. Once.
 */
export function stockIoUring(count: number): void;

/**
 * From now on, threads of vCPUs and queue workers run under a seccomp filter each. A forbidden system
 * call ends the process with code 125 and a message. Idempotent. Throws ENOSYS where the kernel has no
 * seccomp filters.
 */
export function confineThreads(): void;
/** A path that a process may use in its sandbox; `access` is an `enum sandbox_access`. */
export interface NativeSandboxPath {
  readonly path: string | Uint8Array;
  readonly access: number;
}
/**
 * Begins to make the namespaces that {@link confineProcess} takes for a `user` with the same paths, on a
 * thread: that needs a millisecond. As root.
 */
export function beginNamespaces(paths: readonly NativeSandboxPath[]): void;
/**
 * Confines the whole process for good; see `src/sandbox/sandbox.h`. Throws EBUSY when a confined thread has
 * already run.
 */
export function confineProcess(needs: {
  readonly connects: boolean;
  readonly user: number;
  readonly writes: boolean;
  readonly paths: readonly NativeSandboxPath[];
}): { readonly files: boolean; readonly namespaces: boolean; readonly view: boolean };
/** What this kernel has for sandboxes; the version is 0 where it has no Landlock. */
export function probeSandbox(): { readonly seccomp: boolean; readonly landlockVersion: number };
/** Starts a shell that removes files when this process ends; see `src/sandbox/cleaner.h`. */
export function startCleaner(words: readonly (string | Uint8Array)[]): {
  readonly pid: number;
  readonly fd: number;
};
/** Ends that shell and waits until it has removed the files. */
export function finishCleaner(cleaner: { readonly pid: number; readonly fd: number }): void;

/**
 * Locks `length` bytes from `start` (0: to the end of the file, even if it grows) with an open file
 * description lock (fcntl F_OFD_SETLK). Never blocks. Closing the file releases the lock. Throws
 * EAGAIN on a conflict with a lock of another open file description; EBADF when `fd` is not open
 * for writing (exclusive) or reading (shared).
 */
export function lockFile(fd: number, exclusive: boolean, start: number, length: number): void;
/** F_OFD_GETLK: true when {@link lockFile} would throw EAGAIN. Any open mode of `fd` will do. */
export function isFileLocked(
  fd: number,
  exclusive: boolean,
  start: number,
  length: number,
): boolean;

/**
 * lseek(2) SEEK_DATA and SEEK_HOLE: offset of the first data, or of the first hole, at or after
 * `offset`. Throws ENXIO when there is none.
 */
export function seekData(fd: number, offset: number): number;
export function seekHole(fd: number, offset: number): number;
/** fallocate(2): allocates the range and extends the file to its end. EOPNOTSUPP, ENOSPC, … */
export function allocateFile(fd: number, offset: number, length: number): void;
/**
 * fallocate(2): zeroes the range with FALLOC_FL_PUNCH_HOLE (`deallocate`) or FALLOC_FL_ZERO_RANGE.
 * The file keeps its size. Throws EOPNOTSUPP when the file system does not support it.
 */
export function zeroFile(fd: number, offset: number, length: number, deallocate: boolean): void;

/**
 * Writes to a pipe or socket without blocking, whether or not `fd` has O_NONBLOCK.
 * @returns the number of bytes written, 0 when it would block
 * @throws NativeError EOPNOTSUPP for other kinds of files, EPIPE, …
 */
export function writeNow(fd: number, bytes: Uint8Array): number;

/** pipe(2): the end to read and the end to write, with O_CLOEXEC and room for 1 MiB. */
export function makePipe(): [number, number];
/** The guest agent's last frame. */
export interface NativeArchiveAnswer {
  readonly type: number;
  readonly payload: Uint8Array;
  /** The end of the archive came before it. */
  readonly whole: boolean;
  /** Bytes of the archive. */
  readonly moved: number;
}
/**
 * Moves an archive from a connection to the guest agent into a pipe (`out`), or the other way, on
 * another thread, until the agent answers. Closes neither. Rejects with ECONNRESET when the connection
 * ends before, EBADMSG when what comes is no archive, EPIPE when nobody reads the pipe, ...
 */
export function archivePump(
  connection: number,
  pipe: number,
  out: boolean,
): Promise<NativeArchiveAnswer>;
/** dup2(2): `target`, which is kept by programs that this process executes, is what `fd` is. */
export function replaceDescriptor(fd: number, target: number): void;
/** socketpair(2): two connected stream sockets with O_CLOEXEC. */
export function socketPair(): [number, number];
/**
 * A listening TCP socket with O_CLOEXEC and O_NONBLOCK, on a numeric address of IPv4 or IPv6 (that
 * family only). Throws EADDRINUSE, EADDRNOTAVAIL, EACCES, …
 */
export function listenTcp(address: string, port: number): number;
/**
 * A listening stream socket with a new name in the file system (unix(7)), open with O_CLOEXEC and
 * O_NONBLOCK. Throws EADDRINUSE when the file exists, ENAMETOOLONG, …
 */
export function listenUnix(path: string): number;
/** Connects to a listening socket, without blocking. Throws EAGAIN, ECONNREFUSED, ENOENT, … */
export function connectUnix(path: string): number;
/** Non-blocking sendmsg(2) with SCM_RIGHTS. @returns the number of bytes sent, 0 if it would block */
export function sendDescriptors(fd: number, bytes: Uint8Array, fds: readonly number[]): number;
/**
 * Non-blocking recvmsg(2). Returns undefined when there is no data, and zero bytes at the end of
 * the stream. For more than `fdsMax` descriptors, closes all of them and throws EMSGSIZE.
 */
export function receiveDescriptors(
  fd: number,
  bytesMax: number,
  fdsMax: number,
): { bytes: Uint8Array; fds: number[] } | undefined;

/**
 * Puts a terminal in raw mode, for output as well, and returns the previous settings for {@link
 * restoreTerminal}. A background process is stopped (SIGTTOU) until it is in the foreground.
 */
export function makeTerminalRaw(fd: number): Uint8Array;
/** False when this process is in the background of the terminal. */
export function isTerminalOurs(fd: number): boolean;
/** Restores the settings of a terminal. Does nothing in the background. */
export function restoreTerminal(fd: number, saved: Uint8Array): void;

/**
 * Ends the process with exit code 128 + N `graceMs` after the first of these signals, or
 * immediately when a signal other than SIGHUP is repeated. Call it once, after installing the
 * handlers of the signals. See `src/util/end_deadline.h`.
 */
export function setEndDeadline(signals: readonly number[], graceMs: number): void;

/** Ends the process with this exit code, as _exit(2) does: no thread is waited for. */
export function exitNow(code: number): never;

/**
 * Sets an option of V8 in the running process, as `setFlagsFromString` of `node:v8` does, which takes
 * milliseconds to load. Returns false if this Node does not export V8's function.
 */
export function setV8Option(option: string): boolean;

/**
 * Opens a queue of an existing tap device, with virtio-net headers. Each call on a device of several
 * queues opens another one. Throws ENODEV, EBUSY, EPERM, EOPNOTSUPP (no tap devices on this host),
 * EINVAL (not a tap device, or created with another setting of multi_queue).
 */
export function openTap(name: string, multiQueue: boolean): number;

/**
 * Creates a tap device with virtio-net headers that is a port of an existing bridge, in the network
 * namespace of a process (0: of this one). It disappears with its descriptor. Throws ENODEV (no such
 * bridge), ESRCH (no such process), EPERM, EBUSY (the name is taken), EOPNOTSUPP.
 */
export function openBridgeTap(name: string, bridge: string, namespacePid: number): number;
