/**
 * Registers of the 16550A (National PC16550D data sheet, section 8) and which of them the vCPU
 * thread serves by itself in a given state of the chip.
 */
import type { FastRead, FastRegister, FastWrite, WordUpdate } from '../../bus/register-bank.ts';

/** Offsets. RBR, THR and IER give way to the divisor latch while LCR.DLAB is set. */
export const RBR_THR = 0;
export const IER = 1;
export const IIR_FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;
const DLL = 0;
const DLM = 1;

export const IER_RDI = 0x01;
export const IER_THRI = 0x02;
export const IER_MSI = 0x08;
/** Bits 4..7 are hard-wired to 0. */
export const IER_WRITABLE = 0x0f;

export const IIR_NO_INT = 0x01;
export const IIR_MSI = 0x00;
export const IIR_THRI = 0x02;
export const IIR_RDI = 0x04;
export const IIR_RX_TIMEOUT = 0x0c;
export const IIR_FIFO_ENABLED = 0xc0;

export const FCR_ENABLE_FIFO = 0x01;
export const FCR_CLEAR_RCVR = 0x02;
/** FIFO size in bytes, and the receive trigger levels that FCR bits 6 and 7 choose. */
export const FIFO_SIZE = 16;
export const RX_TRIGGER_LEVELS = [1, 4, 8, 14] as const;

export const LCR_DLAB = 0x80;

export const MCR_DTR = 0x01;
export const MCR_RTS = 0x02;
export const MCR_OUT1 = 0x04;
export const MCR_OUT2 = 0x08;
export const MCR_LOOP = 0x10;
/** Bits 5..7 are hard-wired to 0. */
export const MCR_WRITABLE = 0x1f;

export const LSR_DR = 0x01;
export const LSR_THRE = 0x20;
export const LSR_TEMT = 0x40;

/** The low half tells which line of the high half changed since the last read. */
export const MSR_DELTAS = 0x0f;
export const MSR_TERI = 0x04;
export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_RI = 0x40;
export const MSR_DCD = 0x80;
export const MSR_LINES = 0xf0;

/** Words of the register bank. */
export const WORD = {
  /** What RBR reads as while nothing was received. Stays 0. */
  rbrEmpty: 0,
  ier: 1,
  lcr: 2,
  mcr: 3,
  lsr: 4,
  msr: 5,
  scr: 6,
  dll: 7,
  dlm: 8,
  /** IIR as far as the transmitter goes; two, used in turn (`Serial16550.#setThrInterrupt`). */
  iirA: 9,
  iirB: 10,
} as const;

/** What the bank of a serial port needs. */
export const SERIAL_LENGTH_BYTES = 8;
export const SERIAL_WORD_COUNT = 11;
/** Output that may wait in the bank before the guest has to; one page of text is 4 KiB. */
export const SERIAL_RING_BYTES = 16384;

/** The parts of the chip's state that decide which accesses are fast. */
export interface SerialShape {
  /** LCR.DLAB. */
  readonly divisorLatch: boolean;
  /** MCR.LOOP. */
  readonly loopback: boolean;
  /** RBR holds a byte. */
  readonly received: boolean;
  /** A receiver or modem interrupt is pending: IIR does not speak of the transmitter alone. */
  readonly otherInterrupt: boolean;
  /** A modem interrupt is pending: reading MSR ends it. */
  readonly modemInterrupt: boolean;
  /** Reads of LSR are watched for a driver that polls. */
  readonly watchPolls: boolean;
  /** IER.THRI: each byte written is an interrupt. */
  readonly thrInterrupt: boolean;
  /** {@link IIR_FIFO_ENABLED} or 0. */
  readonly fifoBits: number;
  /** MSR once its deltas are read. */
  readonly modemLines: number;
  /** Where IIR is. */
  readonly iirWord: number;
}

export function sameShape(a: SerialShape | undefined, b: SerialShape): boolean {
  if (a === undefined) return false;
  return (Object.keys(b) as (keyof SerialShape)[]).every((key) => a[key] === b[key]);
}

/** The table for a state. What is left out here is done in TypeScript. */
export function fastRegisters(shape: SerialShape): readonly FastRegister[] {
  const { iirWord } = shape;
  const registers: FastRegister[] = [
    { offset: LCR, width: 1, read: { word: WORD.lcr } },
    { offset: MCR, width: 1, read: { word: WORD.mcr } },
    {
      offset: SCR,
      width: 1,
      read: { word: WORD.scr },
      write: { kind: 'word', word: WORD.scr },
    },
    {
      offset: LSR,
      width: 1,
      ...(shape.watchPolls ? {} : { read: { word: WORD.lsr } }),
      write: { kind: 'ignore' },
    },
    {
      offset: MSR,
      width: 1,
      ...(shape.modemInterrupt ? {} : { read: readThenSet(WORD.msr, shape.modemLines) }),
      write: { kind: 'ignore' },
    },
  ];
  if (!shape.otherInterrupt) {
    const idle = IIR_NO_INT | shape.fifoBits;
    registers.push({
      offset: IIR_FCR,
      width: 1,
      read: readThenSet(iirWord, idle),
    });
  }
  if (shape.divisorLatch) {
    registers.push(
      { offset: DLL, width: 1, read: { word: WORD.dll }, write: { kind: 'word', word: WORD.dll } },
      { offset: DLM, width: 1, read: { word: WORD.dlm }, write: { kind: 'word', word: WORD.dlm } },
    );
    return registers;
  }
  const transmit: FastWrite = shape.thrInterrupt
    ? raisingRing({ word: iirWord, value: IIR_THRI | shape.fifoBits })
    : { kind: 'ring' };
  registers.push(
    { offset: IER, width: 1, read: { word: WORD.ier } },
    {
      offset: RBR_THR,
      width: 1,
      ...(shape.received ? {} : { read: { word: WORD.rbrEmpty } }),
      ...(shape.loopback ? {} : { write: transmit }),
    },
  );
  return registers;
}

function readThenSet(word: number, value: number): FastRead {
  return { word, after: { word, value } };
}

function raisingRing(after: WordUpdate): FastWrite {
  return { kind: 'ring', after, raise: true };
}
