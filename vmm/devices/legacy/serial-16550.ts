/**
 * A 16550A UART with 16-byte FIFOs (National PC16550D data sheet). Its line is a byte stream, so
 * there are no baud rates, parity errors or breaks: a written byte is sent immediately and the
 * transmitter is always empty.
 *
 * **Who serves the registers.** While only the transmitter is in use, the vCPU threads serve the
 * accesses of its driver (`transmitRegisters`). Any other access, and input, first takes the registers
 * back: from then until {@link Serial16550.#delegate} only this object changes the state.
 *
 * **No edge is lost.** The chip drives a level, but a PC's interrupt controller sees only its rising
 * edges. A handler may return as soon as IIR reads "none", or after the one cause that it looked for.
 * So the line is pulsed whenever a cause of an interrupt arises, and again whenever one was taken
 * while another remains. The local APIC keeps an edge that arrives while the handler runs, and runs it
 * again: at worst a handler finds nothing to do.
 */
import type { InterruptLine } from '../../bus/interrupt-line.ts';
import type { RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import type { ConsoleOutput } from '../console-output.ts';
import { type DeviceState, StateReader } from '../device-state.ts';
import type { MachineDevice } from '../machine-device.ts';
import { ConsoleOutputPump } from './console-output.ts';
import { MODEM_READY, ModemLines } from './serial-modem.ts';
import { SerialReceiver } from './serial-receiver.ts';
import {
  FCR_CLEAR_RCVR,
  FCR_ENABLE_FIFO,
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
  POLLS,
  POLLS_MEAN_LISTENING,
  RBR_THR,
  RX_TRIGGER_LEVELS,
  SCR,
  transmitRegisters,
} from './serial-registers.ts';

/** Causes of an interrupt, as a set. */
const CAUSE_RECEIVE = 1;
const CAUSE_TRANSMIT = 2;
const CAUSE_MODEM = 4;

const LSR_IDLE = LSR_THRE | LSR_TEMT;

/** Bound of the output in a saved state; more than can wait for the console. */
const SAVED_BYTES_MAX = 2 ** 24;

/** Connections of a 16550A. */
export interface Serial16550Options {
  /** Created with `SERIAL_BANK`; its interrupt is `interrupt`. */
  readonly bank: RegisterBank;
  readonly interrupt: InterruptLine;
  readonly output: ConsoleOutput;
  /** Called when there is room for input again after {@link Serial16550.receive} has returned false. */
  readonly onReceiveSpace: () => void;
  /** Called when the output fails. */
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
  /** The transmitter's interrupt is pending. While the vCPU threads serve, the IIR word holds this. */
  #thrPending = false;
  readonly #receiver = new SerialReceiver(this.#modem);
  /** `taken` of the output when LSR was last read here. */
  #takenAtPoll = 0;
  #quiesced = true;
  /** The vCPU threads serve the fast registers. */
  #delegated = false;
  /** A cause was taken or arose again during this access: the remaining causes need another edge. */
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
   * Accepts all input from the host.
   * @returns whether there is room for more; after false, `onReceiveSpace` is called when there is
   */
  receive(bytes: Uint8Array): boolean {
    this.#receiver.append(bytes);
    if (!this.#quiesced) this.#access(() => this.#fillFifo());
    return !this.#receiver.isFull;
  }

  /** Passes on the guest's output; see {@link ConsoleOutputPump.poll}. */
  poll(): void {
    this.#output.poll();
  }

  pollLast(): void {
    this.#output.drain();
  }

  completeAccesses(): void {
    this.#output.hold();
  }

  allowWaiting(): void {
    this.#output.release();
  }

  quiesce(): void {
    this.#quiesced = true;
    this.#output.drainAndHold();
  }

  resume(): void {
    this.#quiesced = false;
    this.#output.release();
    const waited = this.#receiver.isFull;
    this.#access(() => this.#fillFifo());
    // The saved state does not include an edge that was being delivered.
    if (this.#causes() !== 0) this.#interrupt.pulse();
    if (waited && !this.#receiver.isFull) this.#onReceiveSpace();
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
      output: new Uint8Array(this.#output.held),
      ...this.#receiver.save(),
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
    this.#output.restore(reader.bytes('output', SAVED_BYTES_MAX));
    this.#receiver.load(reader);
    this.#delegate();
  }

  /** Passes the rest of the guest's output to the console, even if nobody reads it. */
  async close(): Promise<void> {
    this.#output.finish();
  }

  /** A wide access is one access per byte, as on an ISA bus with this 8-bit chip. */
  read(offset: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) value |= this.#readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, width: number, value: number): void | Promise<void> {
    this.#resetPolls();
    const write = (i: number) =>
      this.#access(() => this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff));
    const done = write(0);
    for (let i = 1; i < width; i++) write(i);
    return done;
  }

  #readByte(offset: number): number {
    // A polling driver reads only this register, so the fast registers are left as they are.
    if (offset === LSR) return this.#readLineStatus();
    const waited = this.#receiver.isFull;
    const value = this.#access(() => this.#readRegister(offset));
    if (waited && !this.#receiver.isFull) this.#onReceiveSpace();
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
    this.#edgeDue = true;
    return this.#receiver.take();
  }

  #fillFifo(): void {
    if (this.#receiver.fillFifo()) this.#edgeDue = true;
  }

  /** Reading IIR clears the transmitter's interrupt if IIR shows that one. */
  #readInterruptId(): number {
    const causes = this.#causes();
    const fifoBits = this.#fifoBits();
    if (causes & CAUSE_RECEIVE) {
      const level = fifoBits ? (RX_TRIGGER_LEVELS[this.#fcr >> 6] ?? 1) : 1;
      const reached = this.#receiver.available >= level;
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
    this.#output.drain();
    if (this.#output.taken !== this.#takenAtPoll) this.#resetPolls();
    this.#takenAtPoll = this.#output.taken;
    if (this.#receiver.watchesPolls && !this.#output.blocked) {
      const polls = Atomics.add(this.#words, POLLS, 1) + 1;
      if (polls >= POLLS_MEAN_LISTENING) this.#access(() => this.#receiver.listen());
    }
    return LSR_IDLE | (this.#receiver.available > 0 ? LSR_DR : 0);
  }

  /** The driver does something other than polling for input. */
  #resetPolls(): void {
    Atomics.store(this.#words, POLLS, 0);
  }

  #readModemStatus(): number {
    this.#edgeDue = true;
    return this.#modem.readStatus();
  }

  #writeInterruptEnable(value: number): void {
    /* The transmitter is always empty, so enabling its interrupt raises it. */
    if ((this.#ier ^ value) & IER_THRI) this.#thrPending = (value & IER_THRI) !== 0;
    this.#ier = value;
    if (value & IER_RDI) this.#receiver.listen();
  }

  #writeFifoControl(value: number): void {
    const modeChanges = ((value ^ this.#fcr) & FCR_ENABLE_FIFO) !== 0;
    this.#fcr = value & FCR_ENABLE_FIFO ? value : 0;
    if (modeChanges || this.#fcr & FCR_CLEAR_RCVR) {
      this.#receiver.clear((this.#ier & IER_RDI) !== 0);
    }
  }

  #writeModemControl(value: number): void {
    this.#modem.writeControl(value);
    this.#receiver.modemChanged();
  }

  #loopBack(byte: number): void {
    this.#receiver.loopBack(byte, this.#fifoBits() !== 0);
    this.#edgeDue = true;
    this.#transmitted();
  }

  /** Called when the ring is full, or when the vCPU threads do not serve the registers. */
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

  /** Changes the chip's state and raises an interrupt if the change requires one. */
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

  /** Leaves the registers to the vCPU threads, if only the transmitter is in use. */
  #delegate(): void {
    if (
      this.#divisorLatch() ||
      this.#modem.loops ||
      this.#receiver.available > 0 ||
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
        watchesPolls: this.#receiver.watchesPolls,
      }),
    );
  }

  #causes(): number {
    return (
      (this.#ier & IER_RDI && this.#receiver.available > 0 ? CAUSE_RECEIVE : 0) |
      (this.#ier & IER_THRI && this.#thrPending ? CAUSE_TRANSMIT : 0) |
      (this.#ier & IER_MSI && this.#modem.deltas ? CAUSE_MODEM : 0)
    );
  }

  #divisorLatch(): boolean {
    return (this.#lcr & LCR_DLAB) !== 0;
  }

  #fifoBits(): number {
    return this.#fcr & FCR_ENABLE_FIFO ? IIR_FIFO_ENABLED : 0;
  }
}
