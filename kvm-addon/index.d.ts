/**
 * The whole native surface. Only `vmm/kvm/` imports it, and gives the rest of the code typed
 * handles. Everything here checks its arguments, calls the C core and converts the answer.
 *
 * Every failure of a system call is thrown as a {@link NativeError}: an `Error` with the errno's
 * name and number and the call's name as properties. Wrong argument types throw `TypeError`.
 */
import type { Disk, ScriptedOperations } from '../vmm/backends/disk/machine/disk.ts';

export interface NativeError extends Error {
  /** The errno's name, e.g. `ENOENT`. */
  readonly code: string;
  /** The errno's number, positive. */
  readonly errno: number;
  /** The system call or ioctl that failed, e.g. `KVM_CREATE_VM`. */
  readonly syscall: string;
}

/** Guest-physical memory; see `src/memory/guest_memory.h`. */
export class NativeMemory {
  /** Regions are page-aligned, do not overlap, and cost nothing until touched. At most four. */
  constructor(
    regions: readonly { gpa: number; sizeBytes: number }[],
    /**
     * What host memory they are: this process's own; a memfd a region, sealed against resizing, which
     * other processes can map; or a private map of a file, from the offset of each region on, of
     * which what the guest writes is copied (ENODATA when the file is too short).
     */
    backing?: 'anonymous' | 'memfd' | { fd: number; offsets: readonly number[] },
  );
  /** The host memory of region `index`, the same object each time. Detached by {@link close}. */
  region(index: number): ArrayBuffer;
  /** Copies `bytes` to `gpa`. Throws EFAULT unless the range lies in one region. */
  write(gpa: number, bytes: Uint8Array): void;
  /**
   * Maps a file over guest memory, copy-on-write. All numbers are multiples of 4096. Throws
   * EOPNOTSUPP for memfds.
   */
  mapFile(gpa: number, lengthBytes: number, fd: number, fileOffset: number): void;
  /**
   * Gives host memory back: whole pages, which read as zeroes afterwards, or as the file that is
   * mapped there privately.
   */
  discard(gpa: number, lengthBytes: number): void;
  /** The memfd of each region; empty for other memory. They stay this object's. */
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
  /** Takes the counter's value and zeroes it; 0 when nothing was signalled. Never blocks. */
  take(): number;
  close(): void;
}

/**
 * The registers of one device: a table of behaviours that the vCPU threads carry out without
 * waking JavaScript. What the table does not name is a slow exit. See `src/bus/register_bank.h`.
 */
export class NativeRegisterBank {
  /** `wordCount` 32-bit words of state and a ring of `ringBytes` (a power of two, or 0). */
  constructor(lengthBytes: number, wordCount: number, ringBytes: number);
  /** The words, shared with the vCPU and queue threads: use `Atomics`. */
  readonly words: Uint32Array;
  /**
   * Replaces the table in one step. `table` holds `struct tsvm_register` records
   * (`include/tsvm/register_bank_abi.h`); no vCPU sees half of it.
   */
  setRegisters(table: Uint8Array): void;
  /** The interrupt that registers with the `raise` behaviour pulse. */
  setInterrupt(interrupt: NativeEventFd): void;
  /** Takes up to 4096 bytes that the guest wrote to the ring, oldest first; empty when none are left. */
  drainRing(): Uint8Array;
  /** Takes the stamps written so far; nobody is woken for them. Pairs of (value, CLOCK_MONOTONIC in ns). */
  drainStamps(): Float64Array;
}

/** What one look at the host's KVM tells. */
export interface NativeHostProbe {
  /** True when guest kernel code is run by KVM's instruction emulator (kvm-pvm). */
  emulatesKernelMode: boolean;
  /** True when {@link NativeVmOptions.kernelModeEngine} can be used there. */
  interpreterWorks: boolean;
}
/** Runs a throw-away VM on the device for about a millisecond. */
export function probeHost(devicePath: string): NativeHostProbe;
/** KVM_CHECK_EXTENSION on /dev/kvm. */
export function checkExtension(devicePath: string, capability: number): number;
/** True when io_uring can be set up by this process. */
export function probeIoUring(): boolean;

/**
 * Locks `length` bytes of an open file from `start` (0: to the end, however it grows) with an open
 * file description lock (fcntl F_OFD_SETLK), which never blocks and goes when the file is closed.
 * Throws EAGAIN when a lock of another open file conflicts; EBADF when `fd` is not open for writing
 * (exclusive) or reading (shared).
 */
export function lockFile(fd: number, exclusive: boolean, start: number, length: number): void;
/** F_OFD_GETLK: true when {@link lockFile} would throw EAGAIN. `fd` may be open in any mode. */
export function isFileLocked(
  fd: number,
  exclusive: boolean,
  start: number,
  length: number,
): boolean;

/**
 * lseek(2) SEEK_DATA and SEEK_HOLE: the first byte at or behind `offset` that is in no hole, or in
 * one. Throws ENXIO when there is none.
 */
export function seekData(fd: number, offset: number): number;
export function seekHole(fd: number, offset: number): number;
/** fallocate(2): reserves space for the range; the file grows to its end. EOPNOTSUPP, ENOSPC, … */
export function allocateFile(fd: number, offset: number, length: number): void;
/**
 * fallocate(2): makes the range read as zeroes by FALLOC_FL_PUNCH_HOLE (`deallocate`) or
 * FALLOC_FL_ZERO_RANGE. The file keeps its size. EOPNOTSUPP where the file system cannot.
 */
export function zeroFile(fd: number, offset: number, length: number, deallocate: boolean): void;

/**
 * Writes as many bytes as a pipe or a socket takes without waiting, in whatever mode `fd` is, and
 * answers how many; 0 when there is no room. Throws EOPNOTSUPP for a file of another kind, EPIPE, …
 */
export function writeNow(fd: number, bytes: Uint8Array): number;

/** socketpair(2): two connected stream sockets, open with O_CLOEXEC. */
export function socketPair(): [number, number];
/** sendmsg(2) with SCM_RIGHTS, without waiting: how many bytes were sent, 0 when there is no room. */
export function sendDescriptors(fd: number, bytes: Uint8Array, fds: readonly number[]): number;
/**
 * recvmsg(2), without waiting: undefined when nothing is there; no bytes at the end of the stream.
 * Throws EMSGSIZE for more than `fdsMax` descriptors, all of which are closed.
 */
export function receiveDescriptors(
  fd: number,
  bytesMax: number,
  fdsMax: number,
): { bytes: Uint8Array; fds: number[] } | undefined;

/**
 * Puts a terminal in raw mode, output included, and answers what it was, for
 * {@link restoreTerminal}. In the background this stops the process until it is in the foreground.
 */
export function makeTerminalRaw(fd: number): Uint8Array;
/** False when the terminal is another process group's: this process is in the background. */
export function isTerminalOurs(fd: number): boolean;
/** Puts a terminal back. Does nothing in the background, where the terminal is another's. */
export function restoreTerminal(fd: number, saved: Uint8Array): void;

/**
 * Ends the process with 128 + N when `graceMs` have passed since the first of these signals, or at
 * once when one but SIGHUP comes again. See `src/util/end_deadline.h`. Once a process, after the
 * signals' handlers were set.
 */
export function setEndDeadline(signals: readonly number[], graceMs: number): void;

export interface NativeVmOptions {
  devicePath: string;
  memory: NativeMemory;
  /** Number of vCPUs, 1 to 32. */
  cpus: number;
  /** Called on the JavaScript thread, coalesced, when any thread of this VM has something to say. */
  onWake: () => void;
  /**
   * On kvm-pvm: a multiple of 2 MiB, from where 2 MiB of guest-physical address space are free for
   * what the VM needs there. Null on a host with VT-x or AMD-V.
   */
  pvmGpa: number | null;
  /** On kvm-pvm: interpret guest kernel code in this process (`src/pvm`), else leave it to KVM. */
  kernelModeEngine: boolean;
}

/** Which part of a vCPU's state; the bytes are KVM's own structures. */
export type NativeCpuState =
  | 'regs'
  | 'sregs'
  | 'xsave'
  | 'xcrs'
  | 'lapic'
  | 'events'
  | 'mp-state'
  | 'debugregs';

/** One VM: file descriptor, in-kernel interrupt controllers, vCPU threads. */
export class NativeVm {
  constructor(options: NativeVmOptions);

  /** KVM_GET_SUPPORTED_CPUID as an array of `struct kvm_cpuid_entry2` (40 bytes each). */
  supportedCpuid(): Uint8Array;
  setCpuid(cpu: number, entries: Uint8Array): void;
  getState(cpu: number, state: NativeCpuState): Uint8Array;
  setState(cpu: number, state: NativeCpuState, bytes: Uint8Array): void;
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
  /** Undoes {@link kickEvent}; the event stays open until the VM is closed. ENOENT: it is not bound. */
  unbindKick(event: NativeEventFd, gpa: number, lengthBytes: number, value: number): void;
  /**
   * For tests of the kernel-mode engine, before {@link start}: how many taken jumps of guest programs
   * it interprets before they run natively, and whether it leaves shadow page tables stale, which
   * breaks guests.
   */
  tuneEngine(tuning: { userBudget: number; leavesStaleShadows: boolean }): void;
  /** Puts a bank's registers on the I/O port or memory bus. Only before {@link start}. */
  attachBank(space: 'pio' | 'mmio', base: number, bank: NativeRegisterBank): number;

  /**
   * One `struct tsvm_exit_slot` a vCPU (`include/tsvm/exit_slot_abi.h`). A slot in state PENDING
   * belongs to JavaScript until {@link completeExit}; its vCPU waits.
   */
  readonly exitSlots: ArrayBuffer;
  /** Hands a pending slot back to its vCPU. */
  completeExit(cpu: number): void;
  /** Why a vCPU stopped for good: one line for a person. */
  failureText(cpu: number): string;

  /** Starts the vCPU threads, running. */
  start(): void;
  /**
   * Asks every vCPU to park between two instructions; `onWake` follows as each does. One in a slow
   * exit parks once that is completed.
   */
  pause(): void;
  resume(): void;
  /** Ends the vCPU threads, for good, wherever they are; `onWake` follows as each has. */
  stop(): void;
  /** True when every vCPU has parked, as asked for, or ended. */
  readonly parked: boolean;
  /**
   * Begins or ends to log which pages are written, by whatever: vCPUs, queue workers,
   * {@link NativeMemory.write}. Writes through {@link NativeMemory.region} are not seen.
   */
  setDirtyLog(logs: boolean): void;
  /**
   * A bitmap for each region, least significant bit first, of the pages written since the last call
   * or since the log began. What is written meanwhile may be told now or next time: read the memory
   * afterwards. Throws EINVAL without a log.
   */
  takeDirtyPages(): Uint8Array[];
  /** Counters by name, summed over the vCPUs. */
  statistics(): Record<string, number>;
  /** Ends the vCPU threads and closes the VM. A vCPU in a slow exit is released. */
  close(): void;
}

/** The data plane of a disk, shared by the queue workers of one device. */
export interface NativeDisk extends Disk {
  /** Requests past the end fail. Shrinking does not touch extents: withdraw them. */
  setSize(sizeBytes: number): void;
  /**
   * Flushes no longer sync this file. Call it before closing a file that was writable here, once its
   * extents are withdrawn and it was synced. Throws EBUSY while it has writable extents.
   */
  forgetFile(fd: number): void;
}

export const NativeDisk: new (options: {
  sizeBytes: number;
  readOnly: boolean;
  /** The initial value of `setScripted`. */
  scripted: ScriptedOperations;
  /** Called on the JavaScript thread, once per batch of requests, or when the stock is low. */
  onScriptRequests: () => void;
}) => NativeDisk;

/** A virtqueue as the driver configured it. Checked again, in C, by `start`. */
export interface NativeQueueConfig {
  /** Of the device's queue; less than the number of `host.kicks`. */
  index: number;
  size: number;
  descriptorGpa: number;
  availableGpa: number;
  usedGpa: number;
  /** Which of `host.interrupts` tells of used buffers; absent: the first; null: none. */
  interrupt?: number | null;
}

export interface NativeQueueStart {
  /** At most 64. */
  queues: readonly NativeQueueConfig[];
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  eventIdx: boolean;
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  indirect: boolean;
  /** The low 32 negotiated feature bits: those that are the device's own. */
  features: number;
}

/** What a queue worker needs of the machine, whatever its device. */
export interface NativeQueueHost {
  memory: NativeMemory;
  /** One kick a queue. */
  kicks: readonly NativeEventFd[];
  /** At most 64. */
  interrupts: readonly NativeEventFd[];
  /** Bit 0 of this word is set before each used-buffer interrupt (virtio-mmio InterruptStatus). */
  interruptStatus?: { bank: NativeRegisterBank; word: number };
  /** The guest broke a queue: the worker has stopped and the device needs a reset. */
  onBroken: (reason: string) => void;
}

/** A block device (virtio 1.2, section 5.2). */
export interface NativeBlockOptions {
  device: 'block';
  disk: NativeDisk;
  engine: 'io_uring' | 'threads';
  /** At most 20 bytes of ASCII. */
  id: string;
  /**
   * Limits offered in config space and enforced here. A discard or write-zeroes request has one
   * segment (`max_discard_seg` = `max_write_zeroes_seg` = 1) and `unmap` is honoured
   * (`write_zeroes_may_unmap` = 1). Of the features, FLUSH, DISCARD and WRITE_ZEROES matter. Without
   * FLUSH each write is made stable before it completes (5.2.6.2).
   */
  segMax: number;
  maxDiscardSectors: number;
  maxWriteZeroesSectors: number;
}

/** An entropy device (virtio 1.2, section 5.4). */
export interface NativeEntropyOptions {
  device: 'entropy';
}

/** A descriptor chain that TypeScript has to serve, at its leisure. */
export interface NativeChain {
  id: number;
  /** Index of the queue. */
  queue: number;
  /** A copy of what the driver lets the device read: its first `readableBytesMax` bytes. */
  readable: Uint8Array;
  /** All that the driver lets it read, and write. */
  readableBytes: number;
  writableBytes: number;
}

/** A buffer of a chain, in guest memory, which the guest may change at any time. */
export interface NativeChainBuffer {
  gpa: number;
  lengthBytes: number;
  writable: boolean;
}

/** The queues of a device that TypeScript serves; see `src/virtio/script_queue.h`. */
export class NativeScriptQueues {
  constructor(options: {
    /** Of the worker's thread: at most 15 bytes. */
    threadName: string;
    /** How much of a chain's readable part is copied, at most. */
    readableBytesMax: number;
    /** Called on the JavaScript thread, once a batch, when chains have arrived. */
    onChains: () => void;
  });
  /** Takes the chains that have arrived. Each is answered by {@link finish} or {@link giveBack}. */
  takeChains(): NativeChain[];
  /** The buffers of a chain that was taken: those to read, then those to write. */
  buffers(id: number): NativeChainBuffer[];
  /**
   * Returns chains to the driver; `data` is copied to the start of the writable part. Throws EINVAL
   * for one that is not there, or more data than there is room: those before it are returned.
   */
  finish(answers: readonly { id: number; data?: Uint8Array }[]): void;
  /**
   * Gives a chain back unused: it stays available, and is taken again when one of its queue is
   * wanted. One that is older than a finished chain of its queue is returned to the driver, empty.
   */
  giveBack(id: number): void;
  /** How many more chains of a queue there is a use for; at the start Infinity. */
  want(queue: number, chains: number): void;
}

/** A device that TypeScript serves. One worker serves one NativeScriptQueues. */
export interface NativeScriptOptions {
  device: 'script';
  queues: NativeScriptQueues;
}

/**
 * The thread that serves queues of one device. `start` after `stop` goes on where the used rings
 * stand: at zero in the zeroed rings of a reset device, or where a pause left them.
 */
export class NativeQueueWorker {
  constructor(
    options: { host: NativeQueueHost } & (
      | NativeBlockOptions
      | NativeEntropyOptions
      | NativeScriptOptions
    ),
  );
  /**
   * Starts the thread. Throws EINVAL when a ring is unaligned, out of RAM or of a bad size, EBUSY
   * when it runs.
   */
  start(start: NativeQueueStart): void;
  /** Stops taking chains; resolves when none is in flight and the thread has ended. */
  stop(): Promise<void>;
  /** Counters since the worker was made. */
  statistics(): Record<string, number>;
}
