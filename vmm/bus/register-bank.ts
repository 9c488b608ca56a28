/**
 * Register declarations of a device. The vCPU thread handles accesses to registers with a simple
 * behaviour (fast registers); all other accesses are slow exits to the {@link RegisterHandler}.
 */

/** Sets a word of the bank after the access. */
export interface WordUpdate {
  readonly word: number;
  readonly value: number;
}

/** A read handled by the vCPU thread: it returns the low bytes of a word. */
export interface FastRead {
  readonly word: number;
  readonly after?: WordUpdate;
  /** Counts the reads in another word, instead of `after`. Once it has reached the limit, they are slow. */
  readonly counted?: { readonly word: number; readonly limit: number };
}

/** A write handled by the vCPU thread. */
export type FastWrite =
  | { readonly kind: 'ignore' }
  /** Sets the word to the value. */
  | { readonly kind: 'word'; readonly word: number }
  /** Write-1-to-clear. */
  | { readonly kind: 'clear-bits'; readonly word: number }
  /** Appends the low byte to the ring; a write to a full ring is a slow exit. */
  | {
      readonly kind: 'ring';
      readonly after?: WordUpdate;
      /** Pulse the bank's interrupt after the write. */
      readonly raise?: boolean;
    }
  /** Sets the word to a value that differs from it in no bits but these; else a slow exit. */
  | { readonly kind: 'bits'; readonly word: number; readonly mask: number }
  /** Records the value and the time. */
  | { readonly kind: 'stamp' };

export interface FastRegister {
  /** Offset in bytes from the bank's base. */
  readonly offset: number;
  /** Access width in bytes; other widths are slow exits. */
  readonly width: 1 | 2 | 4;
  readonly read?: FastRead;
  readonly write?: FastWrite;
}

/** Sizes of a register bank. */
export interface BankSpec {
  /** Size of the register window in bytes. */
  readonly lengthBytes: number;
  /** Number of shared 32-bit words, initially 0. */
  readonly wordCount: number;
  /** Size in bytes of the ring for `ring` writes, a power of two. Default: no ring. */
  readonly ringBytes?: number;
}

/** A value that the guest wrote to a `stamp` register, with the time. */
export interface Stamp {
  readonly value: number;
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly timeMs: number;
}

/** Register state shared between a device and the vCPU threads. */
export interface RegisterBank {
  /** Size of the register window in bytes. */
  readonly lengthBytes: number;
  /** Shared words; read and write them with `Atomics`. */
  readonly words: Uint32Array;
  /** Replaces the fast registers atomically: no vCPU sees a partial table. */
  setFastRegisters(registers: readonly FastRegister[]): void;
  /** Removes and returns bytes from the ring, oldest first. Call it until it returns none. */
  drainRing(): Uint8Array;
  /** Removes and returns the recorded stamps, oldest first. */
  takeStamps(): Stamp[];
}

/** Handles a device's slow accesses. The guest controls `offset`, `width` and `value`. */
export interface RegisterHandler {
  /** @param width 1, 2 or 4; only the low `width` bytes of the result are used */
  read(offset: number, width: number): number;
  /** A promise delays the guest's instruction, e.g. until a reset is complete. */
  write(offset: number, width: number, value: number): void | Promise<void>;
}
