/**
 * A 16550A UART with 16-byte FIFOs (National PC16550D data sheet). Its line is a byte stream, so
 * there are no baud rates, parity errors or breaks: a byte written is sent at once and the
 * transmitter is always empty.
 *
 * In the common state, the transmitter alone at work, the vCPU thread serves every access of a
 * driver but the rare writes to IER, FCR, LCR and MCR (`fastRegisters`).
 *
 * **No input is lost.** A driver clears the FIFO and reads RBR "to be sure" while it sets the chip
 * up; on a real line that eats what was typed too early. Here the bytes stay, unseen, until the
 * driver listens: it enables the receive interrupt, or it polls LSR ({@link POLLS_MEAN_LISTENING}).
 * While it listens by interrupt it can hold the input up by RTS, as a modem's driver does when its
 * buffers are full (`console=ttyS0,115200n8r` makes Linux do so).
 *
 * **No edge is lost.** The chip drives a level, and a PC's interrupt controller sees its rising
 * edges. A handler may leave as soon as IIR reads "none", or after the one cause that it looked for.
 * So the line is pulsed whenever a cause of an interrupt arises, and again whenever one was taken
 * while another is still there. An edge that arrives while the handler runs is kept by the local
 * APIC and runs it once more: at worst a handler finds nothing to do.
 */
import type { InterruptLine } from '../../bus/interrupt-line.ts';
import type { RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { type ConsoleOutput, ConsoleOutputPump } from './console-output.ts';
import {
  FCR_CLEAR_RCVR,
  FCR_ENABLE_FIFO,
  FIFO_SIZE,
  fastRegisters,
  IER,
  IER_MSI,
  IER_RDI,
  IER_THRI,
  IER_WRITABLE,
  IIR_FCR,
  IIR_FIFO_ENABLED,
  IIR_MSI,
  IIR_NO_INT,
  IIR_RDI,
  IIR_RX_TIMEOUT,
  IIR_THRI,
  LCR,
  LCR_DLAB,
  LSR,
  LSR_DR,
  LSR_TEMT,
  LSR_THRE,
  MCR,
  MCR_DTR,
  MCR_LOOP,
  MCR_OUT1,
  MCR_OUT2,
  MCR_RTS,
  MCR_WRITABLE,
  MSR,
  MSR_CTS,
  MSR_DCD,
  MSR_DELTAS,
  MSR_DSR,
  MSR_LINES,
  MSR_RI,
  MSR_TERI,
  RBR_THR,
  RX_TRIGGER_LEVELS,
  SCR,
  type SerialShape,
  sameShape,
  WORD,
} from './serial-registers.ts';

/** Causes of an interrupt, as a set. */
const CAUSE_RECEIVE = 1;
const CAUSE_TRANSMIT = 2;
const CAUSE_MODEM = 4;

/**
 * So many reads of LSR with no output between them are a driver that waits for input. Linux reads
 * it a handful of times in a row while it opens the port.
 */
const POLLS_MEAN_LISTENING = 32;

/** The other end of the cable is always there and ready. */
const MODEM_READY = MSR_DCD | MSR_DSR | MSR_CTS;

/** What a 16550A is wired to. The bank is made with `SERIAL_LENGTH_BYTES` and its companions. */
export interface Serial16550Options {
  readonly bank: RegisterBank;
  readonly interrupt: InterruptLine;
  readonly output: ConsoleOutput;
  /** {@link Serial16550.receive} took less than it was given; now the FIFO has room. */
  readonly onReceiveSpace: () => void;
  /** The output failed while nothing waited for it. */
  readonly onOutputFailure: (error: unknown) => void;
}

export class Serial16550 implements RegisterHandler {
  readonly #bank: RegisterBank;
  readonly #words: Uint32Array;
  readonly #interrupt: InterruptLine;
  readonly #output: ConsoleOutputPump;
  readonly #onReceiveSpace: () => void;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  /** Bytes from the line, and bytes that the guest sent itself in loopback. */
  readonly #fifo: number[] = [];
  readonly #loopbackFifo: number[] = [];
  /** The driver is known to want input. */
  #listening = false;
  #polls = 0;
  /** The driver has used RTS: from then on it means something. */
  #readyWasTold = false;
  /** The last {@link receive} left bytes with its caller. */
  #refused = false;
  #iirWord: number = WORD.iirA;
  #shape: SerialShape | undefined;

  constructor(options: Serial16550Options) {
    this.#bank = options.bank;
    this.#words = options.bank.words;
    this.#interrupt = options.interrupt;
    this.#output = new ConsoleOutputPump(options.bank, options.output, options.onOutputFailure);
    this.#onReceiveSpace = options.onReceiveSpace;
    this.#store(WORD.msr, MODEM_READY);
    this.#store(this.#iirWord, IIR_NO_INT);
    this.#settle(0);
  }

  /**
   * Input from the host.
   * @returns how many bytes were taken; `onReceiveSpace` tells when to offer the rest again
   */
  receive(bytes: Uint8Array): number {
    const before = this.#causes();
    const taken = bytes.subarray(0, FIFO_SIZE - this.#fifo.length);
    this.#fifo.push(...taken);
    this.#refused = taken.length < bytes.length;
    this.#settle(before, taken.length > 0 ? CAUSE_RECEIVE : 0);
    return taken.length;
  }

  /** Passes on what the guest has written; see {@link ConsoleOutputPump.drain}. */
  drain(): void {
    if (this.#output.drain() > 0) this.#polls = 0;
  }

  /** See {@link ConsoleOutputPump.flush}. */
  flush(): Promise<void> {
    return this.#output.flush();
  }

  /** A wide access reaches this 8-bit chip as one access a byte, as on an ISA bus. */
  read(offset: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, width: number, value: number): void | Promise<void> {
    this.#polls = 0;
    const done = this.#writeByte(offset, value & 0xff);
    for (let i = 1; i < width; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    return done;
  }

  #readByte(offset: number): number {
    switch (offset) {
      case RBR_THR:
        return this.#divisorLatch() ? this.#load(WORD.dll) : this.#readReceiveBuffer();
      case IER:
        return this.#load(this.#divisorLatch() ? WORD.dlm : WORD.ier);
      case IIR_FCR:
        return this.#readInterruptId();
      case LCR:
        return this.#lcr;
      case MCR:
        return this.#mcr;
      case LSR:
        return this.#readLineStatus();
      case MSR:
        return this.#readModemStatus();
      case SCR:
        return this.#load(WORD.scr);
      default:
        return 0xff;
    }
  }

  #writeByte(offset: number, value: number): void | Promise<void> {
    switch (offset) {
      case RBR_THR:
        if (this.#divisorLatch()) return this.#store(WORD.dll, value);
        return this.#mcr & MCR_LOOP ? this.#loopBack(value) : this.#transmit(value);
      case IER:
        if (this.#divisorLatch()) return this.#store(WORD.dlm, value);
        return this.#writeInterruptEnable(value & IER_WRITABLE);
      case IIR_FCR:
        return this.#writeFifoControl(value);
      case LCR:
        this.#lcr = value;
        this.#store(WORD.lcr, value);
        return this.#settle(this.#causes());
      case MCR:
        return this.#writeModemControl(value & MCR_WRITABLE);
      case SCR:
        return this.#store(WORD.scr, value);
    }
  }

  #readReceiveBuffer(): number {
    const before = this.#causes();
    const received = this.#received();
    const byte = received.shift() ?? 0;
    if (this.#refused && received === this.#fifo) {
      this.#refused = false;
      this.#onReceiveSpace();
    }
    this.#settle(before, CAUSE_RECEIVE);
    return byte;
  }

  /** Reading IIR takes the transmitter's interrupt when it is the one that is shown. */
  #readInterruptId(): number {
    const fifoBits = this.#fifoBits();
    const causes = this.#causes();
    if (causes & CAUSE_RECEIVE) {
      const level = fifoBits ? (RX_TRIGGER_LEVELS[this.#fcr >> 6] ?? 1) : 1;
      const reached = this.#received().length >= level;
      return (reached ? IIR_RDI : IIR_RX_TIMEOUT) | fifoBits;
    }
    const iir = Atomics.exchange(this.#words, this.#iirWord, IIR_NO_INT | fifoBits);
    if (!(iir & IIR_NO_INT)) {
      this.#settle(causes, CAUSE_TRANSMIT);
      return iir;
    }
    return (causes & CAUSE_MODEM ? IIR_MSI : IIR_NO_INT) | fifoBits;
  }

  #readLineStatus(): number {
    this.drain();
    if (!this.#listening && !this.#output.blocked) {
      this.#polls += 1;
      if (this.#polls === POLLS_MEAN_LISTENING) {
        const before = this.#causes();
        this.#listening = true;
        this.#settle(before);
      }
    }
    return this.#load(WORD.lsr);
  }

  #readModemStatus(): number {
    const before = this.#causes();
    const msr = Atomics.exchange(this.#words, WORD.msr, this.#modemLines());
    this.#settle(before, CAUSE_MODEM);
    return msr;
  }

  #writeInterruptEnable(value: number): void {
    const before = this.#causes();
    const changed = this.#ier ^ value;
    this.#ier = value;
    this.#store(WORD.ier, value);
    if (value & IER_RDI) this.#listening = true;
    /* The transmitter is empty: to enable its interrupt is to have it. */
    if (changed & IER_THRI) this.#setThrInterrupt((value & IER_THRI) !== 0);
    this.#settle(before);
  }

  #writeFifoControl(value: number): void {
    const before = this.#causes();
    const modeChanges = ((value ^ this.#fcr) & FCR_ENABLE_FIFO) !== 0;
    this.#fcr = value & FCR_ENABLE_FIFO ? value : 0;
    if (modeChanges || this.#fcr & FCR_CLEAR_RCVR) {
      this.#loopbackFifo.length = 0;
      this.#listening = (this.#ier & IER_RDI) !== 0;
    }
    if (modeChanges) this.#setThrInterrupt((before & CAUSE_TRANSMIT) !== 0);
    this.#settle(before);
  }

  #writeModemControl(value: number): void {
    const before = this.#causes();
    this.#mcr = value;
    this.#store(WORD.mcr, value);
    if (value & MCR_RTS && !(value & MCR_LOOP)) this.#readyWasTold = true;
    if (!(value & MCR_LOOP)) this.#loopbackFifo.length = 0;
    const was = this.#load(WORD.msr);
    const lines = this.#modemLines();
    const changed = (was ^ lines) & MSR_LINES;
    /* The ring indicator counts when it ends, the others whenever they change. */
    const deltas = (changed >> 4) & ~(lines & MSR_RI ? MSR_TERI : 0);
    this.#store(WORD.msr, lines | (was & MSR_DELTAS) | deltas);
    this.#settle(before);
  }

  /** Without the FIFO a byte that is not read in time is replaced, with it the new one is lost. */
  #loopBack(byte: number): void {
    const before = this.#causes();
    if (!this.#fifoBits()) this.#loopbackFifo.length = 0;
    if (this.#loopbackFifo.length < FIFO_SIZE) this.#loopbackFifo.push(byte);
    this.#transmitted(before, CAUSE_RECEIVE);
  }

  /** Reached when the ring is full. */
  #transmit(byte: number): void | Promise<void> {
    const sent = this.#output.put(byte);
    const before = this.#causes();
    if (sent === undefined) return this.#transmitted(before, 0);
    return sent.then(() => this.#transmitted(this.#causes(), 0));
  }

  #transmitted(before: number, alsoArisen: number): void {
    const thrInterrupt = (this.#ier & IER_THRI) !== 0;
    if (thrInterrupt) this.#setThrInterrupt(true);
    this.#settle(before, alsoArisen | (thrInterrupt ? CAUSE_TRANSMIT : 0));
  }

  /**
   * The vCPU threads change the IIR word on their own, also between a load and a store of ours. So
   * the new state goes to the other word, which nobody uses before {@link #settle} sets the table
   * that names it.
   */
  #setThrInterrupt(pending: boolean): void {
    this.#iirWord = this.#iirWord === WORD.iirA ? WORD.iirB : WORD.iirA;
    this.#store(this.#iirWord, (pending ? IIR_THRI : IIR_NO_INT) | this.#fifoBits());
  }

  /**
   * Ends every change of state: the table first, so that a guest that sees LSR.DR gets its byte from
   * us, then LSR, then the interrupt.
   * @param before causes before the change
   * @param touched causes of which one was taken, or of which another arrived
   */
  #settle(before: number, touched = 0): void {
    const after = this.#causes();
    const received = this.#received().length > 0;
    const shape: SerialShape = {
      divisorLatch: this.#divisorLatch(),
      loopback: (this.#mcr & MCR_LOOP) !== 0,
      received,
      otherInterrupt: (after & (CAUSE_RECEIVE | CAUSE_MODEM)) !== 0,
      modemInterrupt: (after & CAUSE_MODEM) !== 0,
      watchPolls: !this.#listening && this.#fifo.length > 0,
      thrInterrupt: (this.#ier & IER_THRI) !== 0,
      fifoBits: this.#fifoBits(),
      modemLines: this.#modemLines(),
      iirWord: this.#iirWord,
    };
    if (!sameShape(this.#shape, shape)) {
      this.#shape = shape;
      this.#bank.setFastRegisters(fastRegisters(shape));
    }
    this.#store(WORD.lsr, LSR_THRE | LSR_TEMT | (received ? LSR_DR : 0));
    if (after & ~before || (touched && after)) this.#interrupt.pulse();
  }

  #causes(): number {
    const transmit = !(this.#load(this.#iirWord) & IIR_NO_INT);
    const modem = this.#load(WORD.msr) & MSR_DELTAS;
    return (
      (this.#ier & IER_RDI && this.#received().length > 0 ? CAUSE_RECEIVE : 0) |
      (this.#ier & IER_THRI && transmit ? CAUSE_TRANSMIT : 0) |
      (this.#ier & IER_MSI && modem ? CAUSE_MODEM : 0)
    );
  }

  /** The bytes that RBR gives. */
  #received(): number[] {
    if (this.#mcr & MCR_LOOP) return this.#loopbackFifo;
    return this.#listening && !this.#heldUp() ? this.#fifo : [];
  }

  /** The driver asks for a pause: it had RTS on since it opened the port, and has it off now. */
  #heldUp(): boolean {
    return this.#readyWasTold && !(this.#mcr & MCR_RTS);
  }

  /** In loopback the outputs of MCR are the inputs of MSR (data sheet, section 8.6.7). */
  #modemLines(): number {
    const mcr = this.#mcr;
    if (!(mcr & MCR_LOOP)) return MODEM_READY;
    return (
      (mcr & MCR_RTS ? MSR_CTS : 0) |
      (mcr & MCR_DTR ? MSR_DSR : 0) |
      (mcr & MCR_OUT1 ? MSR_RI : 0) |
      (mcr & MCR_OUT2 ? MSR_DCD : 0)
    );
  }

  #divisorLatch(): boolean {
    return (this.#lcr & LCR_DLAB) !== 0;
  }

  #fifoBits(): number {
    return this.#fcr & FCR_ENABLE_FIFO ? IIR_FIFO_ENABLED : 0;
  }

  #load(word: number): number {
    return Atomics.load(this.#words, word);
  }

  #store(word: number, value: number): void {
    Atomics.store(this.#words, word, value);
  }
}
