/**
 * What a device declares of its registers: those with a simple behaviour are carried out by the
 * vCPU thread itself; every other access is a slow exit that comes to the {@link RegisterHandler}.
 */

/** Sets a word of the bank once the access is done. */
export interface WordUpdate {
  readonly word: number;
  readonly value: number;
}

/** A read that the vCPU thread answers: the low bytes of a word. */
export interface FastRead {
  readonly word: number;
  readonly after?: WordUpdate;
}

/** A write that the vCPU thread carries out. */
export type FastWrite =
  | { readonly kind: 'ignore' }
  /** The word becomes the value. */
  | { readonly kind: 'word'; readonly word: number }
  /** Write-1-to-clear. */
  | { readonly kind: 'clear-bits'; readonly word: number }
  /** The low byte goes to the ring; when the ring is full the write is a slow exit. */
  | {
      readonly kind: 'ring';
      readonly after?: WordUpdate;
      /** Pulse the bank's interrupt afterwards. */
      readonly raise?: boolean;
    }
  /** The value and the time are kept. */
  | { readonly kind: 'stamp' };

export interface FastRegister {
  /** Bytes from the bank's base. */
  readonly offset: number;
  /** The access width in bytes that matches. */
  readonly width: 1 | 2 | 4;
  readonly read?: FastRead;
  readonly write?: FastWrite;
}

/** What a device's registers need. */
export interface BankSpec {
  /** Size of the register window in bytes. */
  readonly lengthBytes: number;
  /** Shared words; they start as 0. */
  readonly wordCount: number;
  /** Size of the ring that `ring` writes go to, a power of two; left out: there is none. */
  readonly ringBytes?: number;
}

/** A value that the guest wrote to a `stamp` register, and when. */
export interface Stamp {
  readonly value: number;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly timeMs: number;
}

/** The state that a device's registers share with the vCPU threads. */
export interface RegisterBank {
  /** Size of the register window in bytes. */
  readonly lengthBytes: number;
  /** Shared words; read and write them with `Atomics`. */
  readonly words: Uint32Array;
  /** Replaces the fast registers in one step: no vCPU sees half of the new table. */
  setFastRegisters(registers: readonly FastRegister[]): void;
  /** Takes some of the bytes that the guest wrote to the ring, oldest first; empty: none are left. */
  drainRing(): Uint8Array;
  /** Takes the stamps written since the last call, oldest first. */
  takeStamps(): Stamp[];
}

/** Where the slow accesses of a device go. Offsets and widths are the guest's: trust nothing. */
export interface RegisterHandler {
  /** `width` is 1, 2 or 4; the answer's low `width` bytes count. */
  read(offset: number, width: number): number;
  /** A promise delays the end of the guest's instruction, e.g. until a reset is complete. */
  write(offset: number, width: number, value: number): void | Promise<void>;
}
