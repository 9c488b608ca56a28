import {
  MCR_DTR,
  MCR_LOOP,
  MCR_OUT1,
  MCR_OUT2,
  MCR_RTS,
  MCR_WRITABLE,
  MSR_CTS,
  MSR_DCD,
  MSR_DELTAS,
  MSR_DSR,
  MSR_RI,
  MSR_TERI,
} from './serial-registers.ts';

/** MSR of a chip that is always connected to a ready peer. */
export const MODEM_READY = MSR_DCD | MSR_DSR | MSR_CTS;

/** The modem control and status registers (data sheet, sections 8.6.6 and 8.6.7). */
export class ModemLines {
  #control = 0;
  #deltas = 0;

  /** MCR. */
  get control(): number {
    return this.#control;
  }

  /** The low half of MSR: which lines have changed since it was read. */
  get deltas(): number {
    return this.#deltas;
  }

  get loops(): boolean {
    return (this.#control & MCR_LOOP) !== 0;
  }

  /** Request to send: the driver accepts input. */
  get requestsToSend(): boolean {
    return (this.#control & MCR_RTS) !== 0;
  }

  writeControl(value: number): void {
    const before = this.#lines();
    this.#control = value & MCR_WRITABLE;
    const lines = this.#lines();
    /* The ring indicator's delta is set when it ends, the others whenever they change. */
    this.#deltas |= ((before ^ lines) >> 4) & ~(lines & MSR_RI ? MSR_TERI : 0);
  }

  /** Reading MSR clears the deltas. */
  readStatus(): number {
    const status = this.#lines() | this.#deltas;
    this.#deltas = 0;
    return status;
  }

  restore(control: number, deltas: number): void {
    this.#control = control & MCR_WRITABLE;
    this.#deltas = deltas & MSR_DELTAS;
  }

  /** In loopback the outputs of MCR are the inputs of MSR. */
  #lines(): number {
    const control = this.#control;
    if (!this.loops) return MODEM_READY;
    return (
      (control & MCR_RTS ? MSR_CTS : 0) |
      (control & MCR_DTR ? MSR_DSR : 0) |
      (control & MCR_OUT1 ? MSR_RI : 0) |
      (control & MCR_OUT2 ? MSR_DCD : 0)
    );
  }
}
