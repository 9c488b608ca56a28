/**
 * A register bank for tests. It executes fast registers exactly as the native one does
 * (`kvm-addon/include/tsvm/register_bank_abi.h`) and plays the guest's side of the bus.
 */
import assert from 'node:assert/strict';
import type { InterruptLine } from '../../vmm/bus/interrupt-line.ts';
import type {
  BankSpec,
  FastRead,
  FastRegister,
  FastWrite,
  RegisterBank,
  RegisterHandler,
  Stamp,
  WordUpdate,
} from '../../vmm/bus/register-bank.ts';

/** Limits of the native bank (`kvm-addon/src/bus/register_bank.h`). */
const REGISTERS_MAX = 32;
const WORDS_MAX = 64;

/** An interrupt line that counts its edges. */
export class FakeInterruptLine implements InterruptLine {
  readonly gsi: number;
  pulses = 0;

  constructor(gsi = 4) {
    this.gsi = gsi;
  }

  pulse(): void {
    this.pulses += 1;
  }

  /** Number of edges since the last call. */
  take(): number {
    const { pulses } = this;
    this.pulses = 0;
    return pulses;
  }
}

export const FAKE_DRAIN_BYTES = 64;

export class FakeRegisterBank implements RegisterBank {
  readonly lengthBytes: number;
  readonly words: Uint32Array;
  #stamps: Stamp[] = [];
  /** Number of accesses that a vCPU thread would have executed, and of those that woke JavaScript. */
  fastAccesses = 0;
  slowAccesses = 0;
  /** Number of tables that were set. */
  tables = 0;
  readonly #ringBytes: number;
  readonly #ring: number[] = [];
  #registers: readonly FastRegister[] = [];
  #handler: RegisterHandler | undefined;
  #interrupt: InterruptLine | undefined;

  constructor({ lengthBytes, wordCount, ringBytes = 0 }: BankSpec) {
    assert.ok(wordCount <= WORDS_MAX, `${wordCount} words`);
    assert.equal(ringBytes & (ringBytes - 1), 0, 'the ring size is a power of two or 0');
    this.lengthBytes = lengthBytes;
    this.words = new Uint32Array(wordCount);
    this.#ringBytes = ringBytes;
  }

  /** The handler of slow accesses, and the line that `raise` pulses. */
  connect(handler: RegisterHandler, interrupt?: InterruptLine): void {
    this.#handler = handler;
    this.#interrupt = interrupt;
  }

  setFastRegisters(registers: readonly FastRegister[]): void {
    assert.ok(registers.length <= REGISTERS_MAX, `${registers.length} registers`);
    for (const register of registers) {
      const { read, write } = register;
      assert.ok(register.offset + register.width <= this.lengthBytes);
      if (read) this.#checkWords(read.word, read.after?.word, read.counted?.word);
      assert.ok(read?.after === undefined || read.counted === undefined, 'either of both');
      if (write !== undefined && 'word' in write) this.#checkWords(write.word);
      if (write?.kind === 'ring') {
        assert.ok(this.#ringBytes > 0, 'a ring write needs a ring');
        this.#checkWords(write.after?.word);
      }
    }
    this.#registers = [...registers];
    this.tables += 1;
  }

  /** At most {@link FAKE_DRAIN_BYTES} at a time, because the native one has a limit too. */
  drainRing(): Uint8Array {
    return Uint8Array.from(this.#ring.splice(0, FAKE_DRAIN_BYTES));
  }

  takeStamps(): Stamp[] {
    const stamps = this.#stamps;
    this.#stamps = [];
    return stamps;
  }

  /** A guest's read. Throws if it would have to wait for a missing handler. */
  guestRead(offset: number, width = 1): number {
    const read = this.#find(offset, width)?.read;
    if (read === undefined || !this.#count(read)) {
      this.slowAccesses += 1;
      return mask(this.#slow().read(offset, width), width);
    }
    this.fastAccesses += 1;
    const value = Atomics.load(this.words, read.word);
    this.#update(read.after);
    return mask(value, width);
  }

  /** A guest's write. A promise means that the vCPU waits. */
  guestWrite(offset: number, value: number, width = 1): void | Promise<void> {
    const write = this.#find(offset, width)?.write;
    if (write === undefined || !this.#apply(write, mask(value, width))) {
      this.slowAccesses += 1;
      return this.#slow().write(offset, width, mask(value, width));
    }
    this.fastAccesses += 1;
  }

  #apply(write: FastWrite, value: number): boolean {
    switch (write.kind) {
      case 'ignore':
        return true;
      case 'word':
        Atomics.store(this.words, write.word, value);
        return true;
      case 'clear-bits':
        Atomics.and(this.words, write.word, ~value >>> 0);
        return true;
      case 'bits':
        if ((Atomics.load(this.words, write.word) ^ value) & ~write.mask) return false;
        Atomics.store(this.words, write.word, value);
        return true;
      case 'stamp':
        this.#stamps.push({ value, timeMs: performance.now() });
        return true;
      case 'ring':
        if (this.#ring.length === this.#ringBytes) return false;
        this.#ring.push(value & 0xff);
        this.#update(write.after);
        if (write.raise) this.#interrupt?.pulse();
        return true;
    }
  }

  #count({ counted }: FastRead): boolean {
    if (counted === undefined) return true;
    if (Atomics.load(this.words, counted.word) >= counted.limit) return false;
    Atomics.add(this.words, counted.word, 1);
    return true;
  }

  #update(after: WordUpdate | undefined): void {
    if (after) Atomics.store(this.words, after.word, after.value);
  }

  #find(offset: number, width: number): FastRegister | undefined {
    return this.#registers.find((each) => each.offset === offset && each.width === width);
  }

  #slow(): RegisterHandler {
    assert.ok(this.#handler, 'connect() the bank to a device first');
    return this.#handler;
  }

  #checkWords(...words: (number | undefined)[]): void {
    for (const word of words) {
      assert.ok(word === undefined || word < this.words.length, `word ${word} does not exist`);
    }
  }
}

function mask(value: number, width: number): number {
  return width === 4 ? value >>> 0 : value & (2 ** (8 * width) - 1);
}
