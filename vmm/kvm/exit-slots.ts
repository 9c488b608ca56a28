/**
 * The mailboxes through which vCPU threads pass slow exits to JavaScript. Their layout is defined in
 * kvm-addon/include/tsvm/exit_slot_abi.h.
 */
const SLOT_WORDS = 16;
const STATE = 0;
const KIND = 1;
const BANK = 2;
const OFFSET = 3;
const WIDTH = 4;
const DATA_LOW = 6;
const DATA_HIGH = 7;
const PENDING = 1;
/** Used by JavaScript only: a pending exit that will be completed asynchronously. */
const CLAIMED = 2;

const KIND_NAMES = ['none', 'read', 'write', 'shutdown', 'failed', 'debug'] as const;
export type ExitKind = (typeof KIND_NAMES)[number];

/** The exit slot of one vCPU. */
export class ExitSlot {
  readonly cpu: number;
  readonly #words: Uint32Array;

  constructor(slots: ArrayBuffer, cpu: number) {
    this.cpu = cpu;
    this.#words = new Uint32Array(slots, cpu * SLOT_WORDS * 4, SLOT_WORDS);
  }

  /** True while the vCPU waits for JavaScript to handle an exit that is not {@link claim}ed. */
  get pending(): boolean {
    return Atomics.load(this.#words, STATE) === PENDING;
  }

  /** Marks the exit as being handled asynchronously: {@link pending} becomes false. */
  claim(): void {
    Atomics.store(this.#words, STATE, CLAIMED);
  }

  get kind(): ExitKind {
    return KIND_NAMES[this.#word(KIND)] ?? 'none';
  }

  get bank(): number {
    return this.#word(BANK);
  }

  /** Offset in bytes from the bank's base. */
  get offset(): number {
    return this.#word(OFFSET);
  }

  /** Access width in bytes: 1, 2, 4 or 8. */
  get width(): number {
    return this.#word(WIDTH);
  }

  get dataLow(): number {
    return this.#word(DATA_LOW);
  }

  get dataHigh(): number {
    return this.#word(DATA_HIGH);
  }

  /** Sets the result of a read. */
  answer(low: number, high: number): void {
    this.#words[DATA_LOW] = low;
    this.#words[DATA_HIGH] = high;
  }

  #word(index: number): number {
    return this.#words[index] ?? 0;
  }
}
