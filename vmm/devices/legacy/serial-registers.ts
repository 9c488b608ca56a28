/**
 * Registers of the 16550A (National PC16550D data sheet, section 8), and those that the vCPU thread
 * serves while only the transmitter is in use.
 */
import type { BankSpec, FastRegister } from '../../bus/register-bank.ts';

/** Offsets. While LCR.DLAB is set, RBR, THR and IER are replaced by the divisor latch. */
export const RBR_THR = 0;
export const IER = 1;
export const IIR_FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;

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

/**
 * Bank of a serial port. The word of a register has the register's offset; that of RBR reads 0. The
 * ring holds four pages of text.
 */
export const SERIAL_BANK: BankSpec = { lengthBytes: 8, wordCount: 9, ringBytes: 16384 };

/** Word that counts reads of LSR while input waits for which the driver has not asked. */
export const POLLS = 8;

/**
 * Number of LSR reads without output in between after which the driver is assumed to wait for input.
 * Linux reads LSR only a few times in a row while it opens the port.
 */
export const POLLS_MEAN_LISTENING = 32;

/** The state that the table of fast registers depends on. */
export interface TransmitMode {
  /** IER.THRI: each byte written raises an interrupt. */
  readonly thrInterrupt: boolean;
  /** {@link IIR_FIFO_ENABLED} or 0. */
  readonly fifoBits: number;
  /** Reads of LSR are counted, so that a driver that polls for input is noticed. */
  readonly watchesPolls: boolean;
}

/**
 * The fast registers of a chip that has received nothing, with neither LCR.DLAB nor MCR.LOOP set and
 * no modem line changed. TypeScript handles all other accesses, such as writes that configure it.
 */
export function transmitRegisters(mode: TransmitMode): readonly FastRegister[] {
  const { thrInterrupt, fifoBits, watchesPolls } = mode;
  const thrEmpty = { word: IIR_FCR, value: IIR_THRI | fifoBits };
  const none = { word: IIR_FCR, value: IIR_NO_INT | fifoBits };
  return [
    {
      offset: RBR_THR,
      width: 1,
      read: { word: RBR_THR },
      write: { kind: 'ring', ...(thrInterrupt && { after: thrEmpty, raise: true }) },
    },
    {
      offset: IER,
      width: 1,
      read: { word: IER },
      // Linux clears IER before each line of console output and restores it afterwards. No modem
      // line has changed, so enabling that interrupt does not raise it.
      ...(!thrInterrupt && !watchesPolls && { write: { kind: 'bits', word: IER, mask: IER_MSI } }),
    },
    // Reading IIR clears the transmitter's interrupt.
    { offset: IIR_FCR, width: 1, read: { word: IIR_FCR, after: none } },
    { offset: LCR, width: 1, read: { word: LCR } },
    { offset: MCR, width: 1, read: { word: MCR } },
    {
      offset: LSR,
      width: 1,
      read: {
        word: LSR,
        ...(watchesPolls && { counted: { word: POLLS, limit: POLLS_MEAN_LISTENING } }),
      },
      write: { kind: 'ignore' },
    },
    { offset: MSR, width: 1, read: { word: MSR }, write: { kind: 'ignore' } },
    { offset: SCR, width: 1, read: { word: SCR } },
  ];
}
