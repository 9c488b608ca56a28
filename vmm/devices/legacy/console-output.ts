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
  /** Set while nothing is sent; resolved at once, for those who wait for room. */
  #holding = false;
  #onceHolding = Promise.withResolvers<void>();
  /** What was written while nothing was sent. It is older than what is in the ring. */
  #held: Uint8Array[] = [];

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

  /** What {@link hold} has kept from the sink, oldest first. */
  get held(): Uint8Array {
    return Buffer.concat(this.#held);
  }

  /** Takes over what another pump has held, before anything is written. */
  restore(held: Uint8Array): void {
    this.#held = held.length > 0 ? [held] : [];
  }

  /**
   * Empties the ring, unless the sink is full: then that happens by itself as soon as it has room.
   * @returns the number of bytes taken
   */
  drain(): number {
    let taken = 0;
    while (this.#holding || this.#room === undefined) {
      const bytes = (this.#holding ? undefined : this.#held.shift()) ?? this.#bank.drainRing();
      if (bytes.length === 0) break;
      if (this.#holding) this.#held.push(bytes);
      else this.#send(bytes);
      taken += bytes.length;
    }
    return taken;
  }

  /**
   * Passes on a byte that found the ring full.
   * @returns a promise while the sink is full, for the guest to wait for
   */
  put(byte: number): void | Promise<void> {
    this.drain();
    if (this.#holding) {
      this.#held.push(Uint8Array.of(byte));
      return;
    }
    if (this.#room !== undefined) {
      return Promise.race([this.#room, this.#onceHolding.promise]).then(() => this.put(byte));
    }
    this.#send(Uint8Array.of(byte));
  }

  /**
   * Sends nothing more, and keeps what is written instead: {@link put} does not wait any longer. For
   * the short time until the vCPUs park, so that little comes together.
   */
  hold(): void {
    this.#holding = true;
    this.#onceHolding.resolve();
  }

  /** Sends what the sink takes now, and holds the rest of what was written. */
  drainAndHold(): void {
    this.#holding = false;
    this.drain();
    this.hold();
    this.drain();
  }

  /** Ends {@link hold}. */
  release(): void {
    if (this.#holding) this.#onceHolding = Promise.withResolvers();
    this.#holding = false;
    this.drain();
  }

  /**
   * Hands over all that was written, to a full sink as well: it takes what it is given, and a sink
   * that nobody reads must not keep a machine from closing. That is no more than the ring holds and
   * what {@link hold} has kept.
   */
  finish(): void {
    this.release();
    for (;;) {
      const bytes = this.#held.shift() ?? this.#bank.drainRing();
      if (bytes.length === 0) return;
      this.#output.write(bytes);
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
