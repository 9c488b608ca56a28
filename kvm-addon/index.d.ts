/**
 * The API of the native addon. Only `vmm/kvm/` and `vmm/host/` load it. Each function checks its
 * arguments, calls the C core and converts the result.
 *
 * A failed system call is thrown as a {@link NativeError}. Wrong argument types throw `TypeError`.
 */
import type { Disk, DiskProperties } from '../vmm/backends/disk/machine/disk.ts';

export interface NativeError extends Error {
  /** Errno name, e.g. `ENOENT`. */
  readonly code: string;
  /** Errno number, positive. */
  readonly errno: number;
  /** The system call or ioctl that failed, e.g. `KVM_CREATE_VM`. */
  readonly syscall: string;
}

/** A shared mapping of a file: what the guest writes is in the file. */
export interface NativeMemoryFile {
  gpa: number;
  sizeBytes: number;
  /** May be closed after the call. */
  fd: number;
  /** Bytes of the file, at most `sizeBytes`; behind them are zeroes, which are not in the file. */
  fileBytes: number;
  readOnly: boolean;
}

/** Guest-physical memory; see `src/memory/guest_memory.h`. */
export class NativeMemory {
  /**
   * At most twelve page-aligned regions that do not overlap, those of files included. Pages are
   * allocated on first access.
   */
  constructor(
    regions: readonly { gpa: number; sizeBytes: number }[],
    /**
     * Host memory of the regions, default `anonymous`. `memfd`: one memfd per region, sealed against
     * resizing, which other processes can map. A file: a private (copy-on-write) mapping of the file,
     * at one offset per region; throws ENODATA if the file is too short.
     */
    backing?: 'anonymous' | 'memfd' | { fd: number; offsets: readonly number[] },
    /** Files that are guest memory, in regions after the others. */
    files?: readonly NativeMemoryFile[],
  );
  /** The host memory of region `index`, always the same object. {@link close} detaches it. */
  region(index: number): ArrayBuffer;
  /** Copies `bytes` to `gpa`. Throws EFAULT unless the range is within one region. */
  write(gpa: number, bytes: Uint8Array): void;
  /**
   * Maps a file over guest memory, copy-on-write. Addresses and sizes are multiples of 4096. Throws
   * EOPNOTSUPP for memfds.
   */
  mapFile(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void;
  /**
   * Releases the host memory of whole pages. They then read as zeroes, or as the file that is
   * privately mapped there.
   */
  discard(gpa: number, lengthBytes: number): void;
  /**
   * Writes the pages that are not all zeroes to `fd`, each at `fileOffset` plus its distance from
   * `gpa`. Addresses and sizes are multiples of 4096. @returns how many bytes these are
   */
  writeOut(gpa: number, lengthBytes: number, fd: number, fileOffset: number): number;
  /**
   * The reverse, into memory that is zero: reads what is in the file, and skips its holes. Throws
   * ENODATA if the file ends before.
   */
  readIn(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void;
  /** The memfd of each region; empty for other memory. {@link close} closes them. */
  fds(): number[];
  /** Frees the memory. Throws EBUSY while a VM or a queue worker still uses it. */
  close(): void;
}

/** An eventfd: a kick (guest to device) or an interrupt (device to guest). */
export class NativeEventFd {
  constructor();
  readonly fd: number;
  /** Adds one to the counter. */
  signal(): void;
  /** Reads and resets the counter; 0 when it was not signalled. Never blocks. */
  take(): number;
  close(): void;
}

/**
 * The registers of one device: a table of register behaviours that the vCPU threads implement
 * without waking JavaScript. All other accesses are slow exits. See `src/bus/register_bank.h`.
 */
export class NativeRegisterBank {
  /** `wordCount` 32-bit state words and a ring of `ringBytes` (a power of two, or 0). */
  constructor(lengthBytes: number, wordCount: number, ringBytes: number);
  /** The words, shared with the vCPU and queue threads: use `Atomics`. */
  readonly words: Uint32Array;
  /**
   * Replaces the table atomically: no vCPU sees a partial one. `table` is an array of `struct
   * tsvm_register` (`include/tsvm/register_bank_abi.h`).
   */
  setRegisters(table: Uint8Array): void;
  /** Sets the interrupt that writes to registers with `raise` pulse. */
  setInterrupt(interrupt: NativeEventFd): void;
  /** Removes and returns up to 4096 bytes from the ring, oldest first; empty when none are left. */
  drainRing(): Uint8Array;
  /**
   * Removes and returns the stamps as (value, CLOCK_MONOTONIC in ns) pairs. A stamp does not wake
   * JavaScript.
   */
  drainStamps(): Float64Array;
}

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
/**
 * Begins to make the namespaces that {@link confineProcess} takes for a `user`, on a thread: that needs
 * half a millisecond. As root.
 */
export function beginNamespaces(): void;
/**
 * Confines the whole process for good; see `src/sandbox/sandbox.h`. `access` is an `enum
 * sandbox_access`. Throws EBUSY when a confined thread has already run.
 */
export function confineProcess(needs: {
  readonly connects: boolean;
  readonly user: number;
  readonly writes: boolean;
  readonly paths: readonly { readonly path: string | Uint8Array; readonly access: number }[];
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

export interface NativeVmOptions {
  devicePath: string;
  memory: NativeMemory;
  /** Number of vCPUs, 1 to 32. */
  cpus: number;
  /** Called on the JavaScript thread, coalesced, when any thread of this VM needs service. */
  onWake: () => void;
  /**
   * On kvm-pvm: 2 MiB-aligned address of 2 MiB of unused guest-physical address space for the
   * addon's own use. Null on hosts with VT-x or AMD-V.
   */
  pvmGpa: number | null;
  /** On kvm-pvm: interpret guest kernel code in this process (`src/pvm`) instead of in KVM. */
  kernelModeEngine: boolean;
}

/** A part of a vCPU's state, as KVM's structure of that name. */
export type NativeCpuState =
  | 'regs'
  | 'sregs'
  | 'xsave'
  | 'xcrs'
  | 'lapic'
  | 'events'
  | 'mp-state'
  | 'debugregs';

/** Kinds of VM state, each a structure of KVM's: see `src/kvm/vm_state.h`. */
export type NativeVmState = 'pic-master' | 'pic-slave' | 'ioapic' | 'pit' | 'clock';

/** One VM: file descriptor, in-kernel interrupt controllers, vCPU threads. */
export class NativeVm {
  constructor(options: NativeVmOptions);

  /** KVM_GET_SUPPORTED_CPUID as an array of `struct kvm_cpuid_entry2` (40 bytes each). */
  supportedCpuid(): Uint8Array;
  setCpuid(cpu: number, entries: Uint8Array): void;
  getState(cpu: number, state: NativeCpuState): Uint8Array;
  setState(cpu: number, state: NativeCpuState, bytes: Uint8Array): void;
  getVmState(state: NativeVmState): Uint8Array;
  /** The clock goes on from the value that is set; set it last. */
  setVmState(state: NativeVmState, bytes: Uint8Array): void;
  getMsrs(cpu: number, indices: Uint32Array): BigUint64Array;
  setMsrs(cpu: number, indices: Uint32Array, values: BigUint64Array): void;

  /**
   * An irqfd for a GSI, a pin of the IO-APIC (0 to 23) or one of {@link addMessage}: each signal is
   * one edge. The same object for the same GSI.
   */
  interruptEvent(gsi: number): NativeEventFd;
  /** The GSI of a new message-signalled interrupt, which goes nowhere yet; at most 1024. */
  addMessage(): number;
  /** What the interrupt of {@link addMessage} writes where from now on; null: nothing. */
  setMessage(gsi: number, message: { address: number; data: number } | null): void;
  /** An ioeventfd: a write of `value` (`lengthBytes` wide) at `gpa` signals it, with no exit. */
  kickEvent(gpa: number, lengthBytes: number, value: number): NativeEventFd;
  /** As {@link kickEvent}, with an event that it has returned. EEXIST: the place is taken. */
  bindKick(event: NativeEventFd, gpa: number, lengthBytes: number, value: number): void;
  /** Undoes {@link kickEvent}; the event stays open until the VM is closed. ENOENT: it is not bound. */
  unbindKick(event: NativeEventFd, gpa: number, lengthBytes: number, value: number): void;
  /**
   * For tests of the kernel-mode engine, before {@link start}: `userBudget` is the number of taken
   * jumps it interprets before a guest program runs natively; `translateAfter` (0 to 255) is the
   * number of jumps to an instruction after which it is translated, 0: never;
   * `leavesStaleShadows` skips the invalidation of shadow page tables, which breaks guests.
   */
  tuneEngine(tuning: {
    userBudget: number;
    translateAfter: number;
    leavesStaleShadows: boolean;
  }): void;
  /** Attaches a bank to the I/O port or memory bus, before {@link start}. @returns its number */
  attachBank(space: 'pio' | 'mmio', base: number, bank: NativeRegisterBank): number;

  /**
   * One `struct tsvm_exit_slot` per vCPU (`include/tsvm/exit_slot_abi.h`). JavaScript owns a
   * PENDING slot until {@link completeExit}; its vCPU waits.
   */
  readonly exitSlots: ArrayBuffer;
  /** Returns a pending slot to its vCPU, which continues. */
  completeExit(cpu: number): void;
  /** Why a vCPU ended: an error message. */
  failureText(cpu: number): string;

  /** Starts the vCPU threads, which run at once. */
  start(): void;
  /**
   * Asks every vCPU to park between two instructions; `onWake` is called for each that does. A vCPU
   * in a slow exit parks after the exit is completed.
   */
  pause(): void;
  resume(): void;
  /** Ends the vCPU threads, even within an exit; `onWake` is called for each that has ended. */
  stop(): void;
  /** True when every vCPU has parked after {@link pause} or {@link hold}, or has ended. */
  readonly parked: boolean;

  /**
   * For a debugger: `breakpoints` (at most 256) are virtual addresses of instructions, where on hosts
   * with VT-x or AMD-V the debugger has written an INT3. Unless `dr7` is 0, `registers` and it are the
   * processor's DR0 to DR3 and DR7, and those of the guest do nothing. Throws EBUSY unless
   * {@link parked}, EOPNOTSUPP where KVM's emulator runs the guest's kernel.
   */
  setDebug(breakpoints: BigUint64Array, registers: BigUint64Array, dr7: number): void;
  /** As {@link pause}, independently of it and also before {@link start}; until {@link release}. */
  hold(): void;
  /**
   * Ends the hold of the vCPUs in `running`, a bit for each; the others stay parked. A vCPU in
   * `stepping` executes one instruction. Throws as {@link setDebug}.
   */
  release(running: number, stepping: number): void;
  /**
   * Starts or stops logging which pages are written by vCPUs, queue workers and
   * {@link NativeMemory.write}. Writes through {@link NativeMemory.region} are not logged.
   */
  setDirtyLog(logs: boolean): void;
  /**
   * A bitmap for each region, least significant bit first, of the pages written since the last call
   * or since logging started. A page written during the call may be reported now or next time, so
   * read the memory after the call. Throws EINVAL when logging is off.
   */
  takeDirtyPages(): Uint8Array[];
  /** Counters by name, summed over all vCPUs. */
  statistics(): Record<string, number>;
  /** Ends the vCPU threads and closes the VM. A vCPU in a slow exit is released. */
  close(): void;
}

export interface NativeDiskOptions extends DiskProperties {
  /** Called on the JavaScript thread, once per batch of requests, or when the stock is low. */
  onScriptRequests: () => void;
}

/** The data plane of a disk, shared by the queue workers of one device. */
export const NativeDisk: new (options: NativeDiskOptions) => Disk;

/** A virtqueue as configured by the driver. `start` validates it. */
export interface NativeQueueConfig {
  /** Queue index; less than the number of `host.kicks`. */
  index: number;
  size: number;
  descriptorGpa: number;
  availableGpa: number;
  usedGpa: number;
  /** Index in `host.interrupts` of the used-buffer interrupt. Default 0; null: no interrupt. */
  interrupt?: number | null;
}

export interface NativeQueueStart {
  /** At most 64. */
  queues: readonly NativeQueueConfig[];
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  indirect: boolean;
  /** The low 32 negotiated feature bits; the device-specific ones are used. */
  features: number;
}

/** The machine's resources for a queue worker. */
export interface NativeQueueHost {
  memory: NativeMemory;
  /** The kick event of each queue. */
  kicks: readonly NativeEventFd[];
  /** At most 64. */
  interrupts: readonly NativeEventFd[];
  /** Bit 0 of this word is set before each used-buffer interrupt (virtio-mmio InterruptStatus). */
  interruptStatus?: { bank: NativeRegisterBank; word: number };
  /** The guest broke a queue: the worker has stopped, and the device needs a reset. */
  onBroken: (reason: string) => void;
}

/** A block device (virtio 1.2, section 5.2). */
export interface NativeBlockOptions {
  device: 'block';
  disk: Disk;
  engine: 'io_uring' | 'threads';
  rateLimiter?: NativeRateLimiter;
  /** At most 20 bytes of ASCII. */
  id: string;
  /**
   * Limits advertised in config space and enforced by the worker. A discard or write-zeroes request
   * has one segment (`max_discard_seg` = `max_write_zeroes_seg` = 1), and `unmap` is honoured
   * (`write_zeroes_may_unmap` = 1). The worker uses the features FLUSH, DISCARD and WRITE_ZEROES.
   * Without FLUSH, each write is made stable before it completes (5.2.6.2).
   */
  segMax: number;
  maxDiscardSectors: number;
  maxWriteZeroesSectors: number;
}

/** An entropy device (virtio 1.2, section 5.4). */
export interface NativeEntropyOptions {
  device: 'entropy';
}

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

/** Limits how much passes on average and at once; see `src/util/rate_limiter.h`. */
export class NativeRateLimiter {
  /** 0: no limit; for a burst: that of a tenth of a second. The limits count at once. */
  set(limits: {
    bytesPerSecond: number;
    burstBytes: number;
    operationsPerSecond: number;
    burstOperations: number;
  }): void;
}

/** The host's end of a network link; see `src/backend/net_port.h`. */
export class NativeNetPort {
  constructor(options: {
    /** A queue of a tap device, or a stream socket with a length before each frame. */
    kind: 'tap' | 'stream';
    /** Non-blocking for a tap device. The port's from now on. */
    fd: number;
    /** Six bytes: frames from the guest with another source address are dropped. */
    source?: Uint8Array | undefined;
    /**
     * The port serves no more. EPIPE: the other end has closed the connection; EPROTO: it sent what
     * is no frame; EBADFD: the tap device was deleted.
     */
    onFailure: (code: 'EPIPE' | 'EPROTO' | 'EBADFD') => void;
  });
  /** Frames are dropped, both ways, while the link is down. Initially up. */
  setLink(up: boolean): void;
  /** For a tap device of several queues: whether the host passes frames to this one. */
  setQueue(attached: boolean): void;
  /** Closes the descriptor. Throws EBUSY while a worker runs. Idempotent. */
  close(): void;
}

/**
 * A pair of queues of a network device (virtio 1.2, section 5.1): those of the worker, of which one
 * with an even index receives and one with an odd index transmits.
 */
export interface NativeNetOptions {
  device: 'net';
  port: NativeNetPort;
  receiveLimiter?: NativeRateLimiter;
  transmitLimiter?: NativeRateLimiter;
}

/** A descriptor chain to be served by TypeScript, at any time and in any order. */
export interface NativeChain {
  id: number;
  /** Index of the queue. */
  queue: number;
  /** A copy of the first `readableBytesMax` bytes of the device-readable part. */
  readable: Uint8Array;
  /** Total size of the device-readable and the device-writable part in bytes. */
  readableBytes: number;
  writableBytes: number;
}

/** A buffer of a chain. The guest may change its contents at any time. */
export interface NativeChainBuffer {
  gpa: number;
  lengthBytes: number;
  writable: boolean;
}

/** The queues of a device that TypeScript serves; see `src/virtio/script_queue.h`. */
export class NativeScriptQueues {
  constructor(options: {
    /** Name of the worker's thread, at most 15 bytes. */
    threadName: string;
    /** Maximum number of bytes copied from a chain's device-readable part. */
    readableBytesMax: number;
    /** Called on the JavaScript thread, once per batch, when chains have arrived. */
    onChains: () => void;
  });
  /** Takes the chains that have arrived. Pass each to {@link finish} or {@link giveBack}. */
  takeChains(): NativeChain[];
  /** The buffers of a taken chain: the device-readable, then the device-writable ones. */
  buffers(id: number): NativeChainBuffer[];
  /**
   * Returns chains to the driver; `data` is copied to the start of the writable part. Throws EINVAL
   * for an unknown chain or too much data; the chains before it have been returned then.
   */
  finish(answers: readonly { id: number; data?: Uint8Array }[]): void;
  /**
   * Gives a chain back unused: it stays in the available ring and is taken again when a chain of
   * its queue is wanted. If a newer chain of the queue has been finished, it is instead returned to
   * the driver with length 0.
   */
  giveBack(id: number): void;
  /** Sets how many more chains of a queue to take. Initially Infinity. */
  want(queue: number, chains: number): void;
}

/** A device served by TypeScript. Each NativeScriptQueues belongs to one worker. */
export interface NativeScriptOptions {
  device: 'script';
  queues: NativeScriptQueues;
}

/** A connection of the guest to a port of {@link NativeVsock.listen}. */
export interface NativeVsockConnection {
  /** Port of this process. */
  port: number;
  guestPort: number;
  /** A connected stream socket with O_CLOEXEC and O_NONBLOCK. The receiver closes it. */
  fd: number;
}

/** The connections of a socket device; see `src/virtio/vsock.h`. */
export class NativeVsock {
  constructor(options: {
    guestCid: number;
    /** Path of the socket files, at most 96 bytes; empty for none. */
    path: string;
    /** The socket listening at `path`, or null. Close it after {@link close}. */
    listener: number | null;
    /** Called on the JavaScript thread, once per batch, when connections were accepted. */
    onAccepted: () => void;
  });
  /**
   * A new socket that is served like a connection to the socket file. The caller closes it.
   */
  connect(): number;
  /**
   * Hands over a listening stream socket with O_NONBLOCK: each of its connections leads to a port of
   * the guest. {@link close} closes it.
   */
  publish(fd: number, guestPort: number): void;
  /** Accepts the guest's connections to a port. Throws EADDRINUSE. */
  listen(port: number): void;
  unlisten(port: number): void;
  takeAccepted(): NativeVsockConnection[];
  /**
   * Closes all connections; `tellGuest`: with an event for the driver (5.10.6.7). Throws EBUSY while
   * a worker runs.
   */
  reset(tellGuest: boolean): void;
  /** Throws EBUSY while a worker runs. Idempotent. */
  close(): void;
}

/** A socket device (virtio 1.2, section 5.10). */
export interface NativeSocketOptions {
  device: 'socket';
  vsock: NativeVsock;
}

/** A shadow ring, by its addresses for the backend, and its eventfds. */
export interface NativeVhostRing {
  descriptorAddress: number;
  availableAddress: number;
  usedAddress: number;
  /** The backend waits for it. */
  kickFd: number;
  /** The backend signals it. */
  callFd: number;
}

/** Queues that another process serves; see `src/virtio/vhost_queues.h`. */
export class NativeVhostQueues {
  constructor(options: {
    /** Name of the worker's thread, at most 15 bytes. */
    threadName: string;
    /** 1 to 8. */
    queueCount: number;
    /** A power of two, up to 1024. */
    queueSize: number;
    /** Where the shadow rings are for the backend; guest memory is at guest-physical addresses. */
    ringsAddress: number;
  });
  /** The memory of the shadow rings: a memfd, which stays this object's. */
  shared(): { fd: number; bytes: number };
  /** The shadow ring of each queue. */
  rings(): NativeVhostRing[];
  /** The backend is gone and touches nothing any more: the worker ends, with a broken queue. */
  fail(): void;
  /** Empties the rings for a new backend. Throws EBUSY while the worker runs. */
  reset(): void;
  /** Throws EBUSY while the worker runs. Idempotent. */
  close(): void;
}

/** A device that another process serves (vhost-user). */
export interface NativeVhostOptions {
  device: 'vhost';
  queues: NativeVhostQueues;
}

/**
 * The thread that serves the queues of one device. `start` continues from the index in each used
 * ring: 0 after a device reset, or where a pause left it.
 */
export class NativeQueueWorker {
  constructor(
    options: { host: NativeQueueHost } & (
      | NativeBlockOptions
      | NativeEntropyOptions
      | NativeNetOptions
      | NativeScriptOptions
      | NativeSocketOptions
      | NativeVhostOptions
    ),
  );
  /**
   * Starts the thread. Throws EINVAL when a ring is misaligned, not in RAM or of an invalid size,
   * EBUSY when the thread is running.
   */
  start(start: NativeQueueStart): void;
  /** Stops taking chains; resolves when none is in flight and the thread has ended. */
  stop(): Promise<void>;
  /** Counters since the worker was created. */
  statistics(): Record<string, number>;
  /** Counters of each queue by its index, of those that this worker serves. */
  queueStatistics(): { chains: number; notifications: number }[];
}
