/**
 * A 16550A UART with 16-byte FIFOs (National PC16550D data sheet). Its line is a byte stream, so
 * there are no baud rates, parity errors or breaks: a byte written is sent at once and the
 * transmitter is always empty.
 *
 * **Who serves the registers.** While only the transmitter is at work, the vCPU threads serve all
 * that a driver does then (`transmitRegisters`). Any other access, and input, first takes the
 * registers back: from there to {@link Serial16550.#delegate} the state is this object's alone.
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
import { type DeviceState, StateReader } from '../device-state.ts';
import type { MachineDevice } from '../machine-device.ts';
import { type ConsoleOutput, ConsoleOutputPump } from './console-output.ts';
import { MODEM_READY, ModemLines } from './serial-modem.ts';
import {
  FCR_CLEAR_RCVR,
  FCR_ENABLE_FIFO,
  FIFO_SIZE,
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
  MCR_WRITABLE,
  MSR,
  MSR_DELTAS,
  RBR_THR,
  RX_TRIGGER_LEVELS,
  SCR,
  transmitRegisters,
} from './serial-registers.ts';

/** Causes of an interrupt, as a set. */
const CAUSE_RECEIVE = 1;
const CAUSE_TRANSMIT = 2;
const CAUSE_MODEM = 4;

/**
 * This many reads of LSR with no output between them mean a driver that waits for input. Linux reads
 * it a handful of times in a row while it opens the port.
 */
const POLLS_MEAN_LISTENING = 32;

const LSR_IDLE = LSR_THRE | LSR_TEMT;

/** More than can wait on either side of the chip. */
const SAVED_BYTES_MAX = 2 ** 24;

/** What a 16550A is wired to. */
export interface Serial16550Options {
  /** Made with `SERIAL_BANK`; its interrupt is `interrupt`. */
  readonly bank: RegisterBank;
  readonly interrupt: InterruptLine;
  readonly output: ConsoleOutput;
  /** {@link Serial16550.receive} has answered false; now more input is welcome. */
  readonly onReceiveSpace: () => void;
  /** The output failed while nothing waited for it. */
  readonly onOutputFailure: (error: unknown) => void;
}

export class Serial16550 implements RegisterHandler, MachineDevice {
  readonly id = 'serial';
  readonly #bank: RegisterBank;
  readonly #words: Uint32Array;
  readonly #interrupt: InterruptLine;
  readonly #output: ConsoleOutputPump;
  readonly #onReceiveSpace: () => void;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  readonly #modem = new ModemLines();
  #scr = 0;
  #divisor = 0;
  /** The transmitter's interrupt is pending; while the vCPU threads serve, their IIR says so. */
  #thrPending = false;
  /** Bytes from the line, and bytes that the guest sent itself in loopback. */
  #fifo: number[] = [];
  #loopbackFifo: number[] = [];
  /** Input that the FIFO has no room for. */
  #line: Uint8Array = new Uint8Array(0);
  /** The driver is known to want input. */
  #listening = false;
  /** The driver has set RTS: from then on, RTS off means that it wants no input. */
  #rtsUsed = false;

  #polls = 0;
  #quiesced = true;
  /** The vCPU threads serve the fast registers. */
  #delegated = false;
  /** In this access a cause was taken, or arose again: what is left needs an edge. */
  #edgeDue = false;

  constructor(options: Serial16550Options) {
    this.#bank = options.bank;
    this.#words = options.bank.words;
    this.#interrupt = options.interrupt;
    this.#output = new ConsoleOutputPump(options.bank, options.output, options.onOutputFailure);
    this.#onReceiveSpace = options.onReceiveSpace;
    this.#delegate();
  }

  /**
   * Takes input from the host, all of it.
   * @returns whether more is welcome; after false, `onReceiveSpace` tells when it is
   */
  receive(bytes: Uint8Array): boolean {
    this.#line = Buffer.concat([this.#line, bytes]);
    if (!this.#quiesced) this.#access(() => this.#fillFifo());
    return this.#line.length === 0;
  }

  /** Passes on what the guest has written; see {@link ConsoleOutputPump.drain}. */
  poll(): void {
    if (this.#output.drain() > 0) this.#polls = 0;
  }

  completeAccesses(): void {
    this.#output.hold();
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#output.drainAndHold();
  }

  resume(): void {
    this.#quiesced = false;
    this.#output.release();
    const waited = this.#line.length > 0;
    this.#access(() => this.#fillFifo());
    // An edge that was under way when the state was saved is not part of it.
    if (this.#causes() !== 0) this.#interrupt.pulse();
    if (waited && this.#line.length === 0) this.#onReceiveSpace();
  }

  save(): DeviceState {
    this.#takeBack();
    const state = {
      version: 1,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#modem.control,
      scr: this.#scr,
      divisor: this.#divisor,
      modemDeltas: this.#modem.deltas,
      thrPending: this.#thrPending,
      fifo: Uint8Array.from(this.#fifo),
      loopbackFifo: Uint8Array.from(this.#loopbackFifo),
      line: new Uint8Array(this.#line),
      output: new Uint8Array(this.#output.held),
      listening: this.#listening,
      rtsUsed: this.#rtsUsed,
    };
    this.#delegate();
    return state;
  }

  load(state: DeviceState): void {
    const reader = new StateReader(this.id, state, 1);
    this.#takeBack();
    this.#ier = reader.number('ier', IER_WRITABLE);
    this.#fcr = reader.number('fcr', 0xff);
    this.#lcr = reader.number('lcr', 0xff);
    this.#modem.restore(
      reader.number('mcr', MCR_WRITABLE),
      reader.number('modemDeltas', MSR_DELTAS),
    );
    this.#scr = reader.number('scr', 0xff);
    this.#divisor = reader.number('divisor', 0xffff);
    this.#thrPending = reader.boolean('thrPending');
    this.#fifo = [...reader.bytes('fifo', FIFO_SIZE)];
    this.#loopbackFifo = [...reader.bytes('loopbackFifo', FIFO_SIZE)];
    this.#line = Buffer.concat([reader.bytes('line', SAVED_BYTES_MAX), this.#line]);
    this.#output.restore(reader.bytes('output', SAVED_BYTES_MAX));
    this.#listening = reader.boolean('listening');
    this.#rtsUsed = reader.boolean('rtsUsed');
    this.#delegate();
  }

  /** Resolves when all that the guest has written is with the console. */
  close(): Promise<void> {
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
    const write = (i: number) =>
      this.#access(() => this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff));
    const done = write(0);
    for (let i = 1; i < width; i++) write(i);
    return done;
  }

  #readByte(offset: number): number {
    // A driver that polls reads nothing else: the fast registers stay as they are.
    if (offset === LSR) return this.#readLineStatus();
    const waited = this.#line.length > 0;
    const value = this.#access(() => this.#readRegister(offset));
    if (waited && this.#line.length === 0) this.#onReceiveSpace();
    return value;
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case RBR_THR:
        return this.#divisorLatch() ? this.#divisor & 0xff : this.#readReceiveBuffer();
      case IER:
        return this.#divisorLatch() ? this.#divisor >> 8 : this.#ier;
      case IIR_FCR:
        return this.#readInterruptId();
      case LCR:
        return this.#lcr;
      case MCR:
        return this.#modem.control;
      case MSR:
        return this.#readModemStatus();
      case SCR:
        return this.#scr;
      default:
        return 0xff;
    }
  }

  #writeByte(offset: number, value: number): void | Promise<void> {
    switch (offset) {
      case RBR_THR:
        if (this.#divisorLatch()) this.#divisor = (this.#divisor & 0xff00) | value;
        else return this.#modem.loops ? this.#loopBack(value) : this.#transmit(value);
        return;
      case IER:
        if (this.#divisorLatch()) this.#divisor = (this.#divisor & 0xff) | (value << 8);
        else this.#writeInterruptEnable(value & IER_WRITABLE);
        return;
      case IIR_FCR:
        return this.#writeFifoControl(value);
      case LCR:
        this.#lcr = value;
        return;
      case MCR:
        return this.#writeModemControl(value);
      case SCR:
        this.#scr = value;
        return;
    }
  }

  #readReceiveBuffer(): number {
    const received = this.#received();
    const byte = received.shift() ?? 0;
    if (received === this.#fifo) this.#fillFifo();
    this.#edgeDue = true;
    return byte;
  }

  /** Moves input from the line into the FIFO. */
  #fillFifo(): void {
    const bytes = this.#line.subarray(0, FIFO_SIZE - this.#fifo.length);
    this.#line = this.#line.subarray(bytes.length);
    this.#fifo.push(...bytes);
    if (bytes.length > 0) this.#edgeDue = true;
  }

  /** Reading IIR takes the transmitter's interrupt when it is the one that is shown. */
  #readInterruptId(): number {
    const causes = this.#causes();
    const fifoBits = this.#fifoBits();
    if (causes & CAUSE_RECEIVE) {
      const level = fifoBits ? (RX_TRIGGER_LEVELS[this.#fcr >> 6] ?? 1) : 1;
      const reached = this.#received().length >= level;
      return (reached ? IIR_RDI : IIR_RX_TIMEOUT) | fifoBits;
    }
    if (causes & CAUSE_TRANSMIT) {
      this.#thrPending = false;
      this.#edgeDue = true;
      return IIR_THRI | fifoBits;
    }
    return (causes & CAUSE_MODEM ? IIR_MSI : IIR_NO_INT) | fifoBits;
  }

  #readLineStatus(): number {
    this.poll();
    if (!this.#listening && this.#fifo.length > 0 && !this.#output.blocked) {
      this.#polls += 1;
      if (this.#polls >= POLLS_MEAN_LISTENING) {
        this.#access(() => {
          this.#listening = true;
        });
      }
    }
    return LSR_IDLE | (this.#received().length > 0 ? LSR_DR : 0);
  }

  #readModemStatus(): number {
    this.#edgeDue = true;
    return this.#modem.readStatus();
  }

  #writeInterruptEnable(value: number): void {
    /* The transmitter is empty: to enable its interrupt is to have it. */
    if ((this.#ier ^ value) & IER_THRI) this.#thrPending = (value & IER_THRI) !== 0;
    this.#ier = value;
    if (value & IER_RDI) this.#listening = true;
  }

  #writeFifoControl(value: number): void {
    const modeChanges = ((value ^ this.#fcr) & FCR_ENABLE_FIFO) !== 0;
    this.#fcr = value & FCR_ENABLE_FIFO ? value : 0;
    if (modeChanges || this.#fcr & FCR_CLEAR_RCVR) {
      this.#loopbackFifo = [];
      this.#listening = (this.#ier & IER_RDI) !== 0;
    }
  }

  #writeModemControl(value: number): void {
    const modem = this.#modem;
    modem.writeControl(value);
    if (!modem.loops) this.#loopbackFifo = [];
    if (modem.requestsToSend && !modem.loops) this.#rtsUsed = true;
  }

  /** Without the FIFO a byte that is not read in time is replaced, with it the new one is lost. */
  #loopBack(byte: number): void {
    if (!this.#fifoBits()) this.#loopbackFifo = [];
    if (this.#loopbackFifo.length < FIFO_SIZE) this.#loopbackFifo.push(byte);
    this.#edgeDue = true;
    this.#transmitted();
  }

  /** Reached when the ring is full, or when the vCPU threads do not serve. */
  #transmit(byte: number): void | Promise<void> {
    const sent = this.#output.put(byte);
    if (sent === undefined) return this.#transmitted();
    return sent.then(() => this.#access(() => this.#transmitted()));
  }

  #transmitted(): void {
    if (!(this.#ier & IER_THRI)) return;
    this.#thrPending = true;
    this.#edgeDue = true;
  }

  /** Does something with the chip's state, and raises what interrupt that calls for. */
  #access<T>(action: () => T): T {
    this.#takeBack();
    const before = this.#causes();
    this.#edgeDue = false;
    const result = action();
    const after = this.#causes();
    this.#delegate();
    if (after & ~before || (this.#edgeDue && after)) this.#interrupt.pulse();
    return result;
  }

  /** From here on, no vCPU thread changes the chip's state. */
  #takeBack(): void {
    if (!this.#delegated) return;
    this.#delegated = false;
    this.#bank.setFastRegisters([]);
    this.#ier = Atomics.load(this.#words, IER);
    this.#thrPending = (Atomics.load(this.#words, IIR_FCR) & IIR_NO_INT) === 0;
  }

  /** Leaves the registers to the vCPU threads, if only the transmitter is at work. */
  #delegate(): void {
    if (
      this.#divisorLatch() ||
      this.#modem.loops ||
      this.#received().length > 0 ||
      this.#modem.deltas !== 0
    ) {
      return;
    }
    const fifoBits = this.#fifoBits();
    const transmit = this.#causes() & CAUSE_TRANSMIT;
    const words: readonly (readonly [register: number, value: number])[] = [
      [IER, this.#ier],
      [IIR_FCR, (transmit ? IIR_THRI : IIR_NO_INT) | fifoBits],
      [LCR, this.#lcr],
      [MCR, this.#modem.control],
      [LSR, LSR_IDLE],
      [MSR, MODEM_READY],
      [SCR, this.#scr],
    ];
    for (const [register, value] of words) Atomics.store(this.#words, register, value);
    this.#delegated = true;
    this.#bank.setFastRegisters(
      transmitRegisters({
        thrInterrupt: (this.#ier & IER_THRI) !== 0,
        fifoBits,
        watchesPolls: !this.#listening && this.#fifo.length > 0,
      }),
    );
  }

  #causes(): number {
    return (
      (this.#ier & IER_RDI && this.#received().length > 0 ? CAUSE_RECEIVE : 0) |
      (this.#ier & IER_THRI && this.#thrPending ? CAUSE_TRANSMIT : 0) |
      (this.#ier & IER_MSI && this.#modem.deltas ? CAUSE_MODEM : 0)
    );
  }

  /** The bytes that RBR gives. */
  #received(): number[] {
    if (this.#modem.loops) return this.#loopbackFifo;
    return this.#listening && !this.#heldUp() ? this.#fifo : [];
  }

  #heldUp(): boolean {
    return this.#rtsUsed && !this.#modem.requestsToSend;
  }

  #divisorLatch(): boolean {
    return (this.#lcr & LCR_DLAB) !== 0;
  }

  #fifoBits(): number {
    return this.#fcr & FCR_ENABLE_FIFO ? IIR_FIFO_ENABLED : 0;
  }
}
