import type { StateReader } from '../device-state.ts';
import type { ModemLines } from './serial-modem.ts';
import { FIFO_SIZE } from './serial-registers.ts';

/** Bound of the input in a saved state; more than can wait for the guest. */
const SAVED_BYTES_MAX = 2 ** 24;

/**
 * The receiver of a 16550A: input from the host until the driver reads it.
 *
 * No input is lost. A driver clears the FIFO and reads RBR "to be sure" while it sets the chip up; on
 * a real line that discards what was typed too early. Here the bytes stay, invisible, until the driver
 * listens: it enables the receive interrupt, or it polls LSR. A driver that has set RTS once can also
 * hold input up by clearing it, as a modem's driver does when its buffers are full
 * (`console=ttyS0,115200n8r` makes Linux do so).
 */
export class SerialReceiver {
  readonly #modem: ModemLines;
  #fifo: number[] = [];
  /** Bytes that the guest sent to itself in loopback mode. */
  #loopbackFifo: number[] = [];
  /** Input that the FIFO has no room for. */
  #line: Uint8Array = new Uint8Array(0);
  /** The driver is known to want input. */
  #listening = false;
  #rtsUsed = false;

  constructor(modem: ModemLines) {
    this.#modem = modem;
  }

  /** Input waits that the FIFO has no room for. */
  get isFull(): boolean {
    return this.#line.length > 0;
  }

  /** How many bytes RBR can give. */
  get available(): number {
    return this.#received().length;
  }

  /** There is input, and it is not known yet whether the driver polls for it. */
  get watchesPolls(): boolean {
    return !this.#listening && this.#fifo.length > 0;
  }

  /** Adds input. {@link fillFifo} moves it to where the driver finds it. */
  append(bytes: Uint8Array): void {
    this.#line = Buffer.concat([this.#line, bytes]);
  }

  /** @returns whether there was something to move */
  fillFifo(): boolean {
    const bytes = this.#line.subarray(0, FIFO_SIZE - this.#fifo.length);
    this.#line = this.#line.subarray(bytes.length);
    this.#fifo.push(...bytes);
    return bytes.length > 0;
  }

  /** Takes the next byte for RBR; 0 if there is none. */
  take(): number {
    const received = this.#received();
    const byte = received.shift() ?? 0;
    if (received === this.#fifo) this.fillFifo();
    return byte;
  }

  /** Without the FIFO, a new byte replaces an unread one; with it, the new one is lost. */
  loopBack(byte: number, fifoEnabled: boolean): void {
    if (!fifoEnabled) this.#loopbackFifo = [];
    if (this.#loopbackFifo.length < FIFO_SIZE) this.#loopbackFifo.push(byte);
  }

  /** The driver wants input: it has enabled the receive interrupt, or polls for it. */
  listen(): void {
    this.#listening = true;
  }

  /** The driver clears the FIFO. Input stays, until the driver listens again. */
  clear(listening: boolean): void {
    this.#loopbackFifo = [];
    this.#listening = listening;
  }

  /** MCR was written. */
  modemChanged(): void {
    if (!this.#modem.loops) this.#loopbackFifo = [];
    if (this.#modem.requestsToSend && !this.#modem.loops) this.#rtsUsed = true;
  }

  save() {
    return {
      fifo: Uint8Array.from(this.#fifo),
      loopbackFifo: Uint8Array.from(this.#loopbackFifo),
      line: new Uint8Array(this.#line),
      listening: this.#listening,
      rtsUsed: this.#rtsUsed,
    };
  }

  /** Input that has already arrived follows the saved input. */
  load(reader: StateReader): void {
    this.#fifo = [...reader.bytes('fifo', FIFO_SIZE)];
    this.#loopbackFifo = [...reader.bytes('loopbackFifo', FIFO_SIZE)];
    this.#line = Buffer.concat([reader.bytes('line', SAVED_BYTES_MAX), this.#line]);
    this.#listening = reader.boolean('listening');
    this.#rtsUsed = reader.boolean('rtsUsed');
  }

  #received(): number[] {
    if (this.#modem.loops) return this.#loopbackFifo;
    const heldUp = this.#rtsUsed && !this.#modem.requestsToSend;
    return this.#listening && !heldUp ? this.#fifo : [];
  }
}
