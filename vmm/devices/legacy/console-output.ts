/** Where a console's output goes, and how the guest's pace is fitted to it. */
import type { RegisterBank } from '../../bus/register-bank.ts';

/** A terminal, a file, nothing. Never throws, never rejects. */
export interface ConsoleOutput {
  /** Takes all of `bytes`, which it may keep. False asks for no more before {@link onceDrained}. */
  write(bytes: Uint8Array): boolean;
  /** Resolves when there is room again. */
  onceDrained(): Promise<void>;
}

/**
 * Passes the bytes that vCPU threads leave in a bank's ring, and those that did not fit into it, to
 * a sink in the order in which they were written. While the sink is full nothing is taken from the
 * ring: a guest that goes on writing fills it and then waits, so a flood costs no memory.
 */
export class ConsoleOutputPump {
  readonly #bank: RegisterBank;
  readonly #output: ConsoleOutput;
  readonly #onFailure: (error: unknown) => void;
  /** Set while the sink is full. */
  #room: Promise<void> | undefined;

  /** @param onFailure the sink broke its promise and failed, while it was waited for */
  constructor(bank: RegisterBank, output: ConsoleOutput, onFailure: (error: unknown) => void) {
    this.#bank = bank;
    this.#output = output;
    this.#onFailure = onFailure;
  }

  /** The sink is full. */
  get blocked(): boolean {
    return this.#room !== undefined;
  }

  /**
   * Empties the ring, unless the sink is full: then that happens by itself as soon as it has room.
   * @returns the number of bytes passed on
   */
  drain(): number {
    let passed = 0;
    while (this.#room === undefined) {
      const bytes = this.#bank.drainRing();
      if (bytes.length === 0) break;
      this.#send(bytes);
      passed += bytes.length;
    }
    return passed;
  }

  /**
   * Passes on a byte that found the ring full.
   * @returns a promise while the sink is full, for the guest to wait for
   */
  put(byte: number): void | Promise<void> {
    this.drain();
    if (this.#room !== undefined) return this.#room.then(() => this.put(byte));
    this.#send(Uint8Array.of(byte));
  }

  /** Resolves when all that was written so far is with a sink that has room. */
  async flush(): Promise<void> {
    for (;;) {
      this.drain();
      if (this.#room === undefined) return;
      await this.#room;
    }
  }

  #send(bytes: Uint8Array): void {
    if (this.#output.write(bytes)) return;
    this.#room = this.#output.onceDrained().then(() => {
      this.#room = undefined;
      this.drain();
    });
    this.#room.catch(this.#onFailure);
  }
}
