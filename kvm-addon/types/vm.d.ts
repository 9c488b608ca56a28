/** A virtual machine: its memory, its registers of devices in C, its vCPUs. */

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
     * Host memory of the regions, default `anonymous`. `huge`: the same in pages of 2 MiB, where the
     * host has them. `memfd`: one memfd per region, sealed against resizing, which other processes can
     * map. A file: a private (copy-on-write) mapping of the file, at one offset per region; throws
     * ENODATA if the file is too short.
     */
    backing?: 'anonymous' | 'huge' | 'memfd' | { fd: number; offsets: readonly number[] },
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
  /** Begins the creation, on a thread. */
  constructor(options: NativeVmOptions);

  /** Waits for the end of the creation, as all methods do, and throws if it has failed. */
  created(): void;
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
