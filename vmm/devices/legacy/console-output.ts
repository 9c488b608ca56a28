/** A console's output, with flow control of the guest. */
import type { RegisterBank } from '../../bus/register-bank.ts';
import type { ConsoleOutput } from '../console-output.ts';

/**
 * Output that follows other output within this time is passed on together. A vCPU wakes this thread
 * when it writes to an empty ring: a ring that is emptied at once costs a wake for almost every byte.
 */
const GATHER_MS = 2;

/**
 * Passes the bytes in a bank's ring, and those that did not fit into it, to a sink in the order in
 * which the guest wrote them. While the sink is full, nothing is taken from the ring: a guest that
 * continues to write fills it and then waits, so a flood takes no memory.
 */
export class ConsoleOutputPump {
  readonly #bank: RegisterBank;
  readonly #output: ConsoleOutput;
  readonly #onFailure: (error: unknown) => void;
  /** Set while the sink is full. */
  #room: Promise<void> | undefined;
  /** Set by {@link hold}, which also resolves the promise: nobody waits for room any longer. */
  #holding = false;
  #onceHolding = Promise.withResolvers<void>();
  /** Output written during {@link hold}; older than what is in the ring. */
  #held: Uint8Array[] = [];
  #taken = 0;
  /** Set for {@link GATHER_MS} after output was passed on. */
  #gathering: NodeJS.Timeout | undefined;

  /** @param onFailure called when the output fails later than in a call of this class */
  constructor(bank: RegisterBank, output: ConsoleOutput, onFailure: (error: unknown) => void) {
    this.#bank = bank;
    this.#output = output;
    this.#onFailure = onFailure;
  }

  /** The sink is full. */
  get blocked(): boolean {
    return this.#room !== undefined;
  }

  /** How many bytes were passed on or kept so far. */
  get taken(): number {
    return this.#taken;
  }

  /** Output kept by {@link hold}, oldest first. */
  get held(): Uint8Array {
    return Buffer.concat(this.#held);
  }

  /** Takes over the held output of a saved machine, before anything is written. */
  restore(held: Uint8Array): void {
    this.#held = held.length > 0 ? [held] : [];
  }

  /** Called when the ring is no longer empty: {@link drain}, at once or with the output that follows. */
  poll(): void {
    if (this.#gathering !== undefined || this.drain() === 0) return;
    this.#gathering = setTimeout(() => {
      this.#gathering = undefined;
      try {
        this.poll();
      } catch (error) {
        this.#onFailure(error);
      }
    }, GATHER_MS);
  }

  /**
   * Empties the ring, or schedules that for when the sink has room.
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
    this.#taken += taken;
    return taken;
  }

  /**
   * Writes a byte for which the ring had no room.
   * @returns a promise while the sink is full; the guest's instruction waits for it
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
   * Keeps further output instead of sending it, so that {@link put} does not wait. Used for the short
   * time until the vCPUs are parked, so little accumulates.
   */
  hold(): void {
    this.#holding = true;
    this.#onceHolding.resolve();
  }

  /** Sends what the sink accepts now and holds the rest. */
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
   * Passes the rest of the output to the sink even if it is full: a sink accepts everything, and one
   * that nobody reads must not keep a machine from closing. That is at most the content of the ring and
   * what {@link hold} has kept.
   */
  finish(): void {
    clearTimeout(this.#gathering);
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
