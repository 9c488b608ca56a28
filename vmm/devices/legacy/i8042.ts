/**
 * The part of the i8042 keyboard controller that resets the machine. There is no keyboard.
 *
 * Status always reads "output buffer full, input buffer empty". A driver that flushes the output buffer
 * then gives up after 17 reads with "no controller"; with an empty buffer it would wait half a second
 * for the result of a self-test. A reboot, which waits until the input buffer is empty, does not wait.
 * Linux: `i8042_flush`, `kb_wait`.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { StatelessDevice } from '../machine-device.ts';

/** Each port is a bank of one byte: port 0x61 between them belongs to KVM's PIT. */
export const I8042_BANK: BankSpec = { lengthBytes: 1, wordCount: 1 };

const STATUS_OUTPUT_FULL = 0x01;
/** The value read from an unassigned port. */
const DATA_NONE = 0xff;

/** Commands 0xf0..0xff pulse the output lines whose bits are 0; bit 0 is the CPU's reset. */
const COMMAND_PULSE = 0xf0;
const PULSE_NOT_RESET = 0x01;

export interface I8042Options {
  /** Port 0x60. */
  readonly dataBank: RegisterBank;
  /** Port 0x64. */
  readonly commandBank: RegisterBank;
  /** The guest requests a reset; it may do so again before the reset happens. */
  readonly onReset: () => void;
}

export class I8042 extends StatelessDevice {
  readonly id = 'i8042';
  /** Handles the command bank's slow accesses; those of the data bank have no effect. */
  readonly commandHandler: RegisterHandler;
  readonly dataHandler: RegisterHandler = { read: () => DATA_NONE, write: () => {} };

  constructor(options: I8042Options) {
    super();
    const { dataBank, commandBank, onReset } = options;
    Atomics.store(dataBank.words, 0, DATA_NONE);
    Atomics.store(commandBank.words, 0, STATUS_OUTPUT_FULL);
    dataBank.setFastRegisters([
      { offset: 0, width: 1, read: { word: 0 }, write: { kind: 'ignore' } },
    ]);
    commandBank.setFastRegisters([{ offset: 0, width: 1, read: { word: 0 } }]);
    this.commandHandler = {
      read: () => STATUS_OUTPUT_FULL,
      write: (_offset, _width, value) => {
        if ((value & (COMMAND_PULSE | PULSE_NOT_RESET)) === COMMAND_PULSE) onReset();
      },
    };
  }
}
