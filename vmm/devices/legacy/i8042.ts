/**
 * As much of the i8042 keyboard controller as a reset needs. There is no keyboard.
 *
 * Status always reads "output buffer full, input buffer empty". So a driver's flush of the output
 * buffer never ends and it gives up after 17 reads with "no controller", where an empty buffer would
 * make it wait half a second for the answer to a self-test; and a reboot, which waits for the input
 * buffer, goes on at once. Linux: `i8042_flush`, `kb_wait`.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { StatelessDevice } from '../machine-device.ts';

/** Each port is a bank of one byte: port 0x61 between them belongs to KVM's PIT. */
export const I8042_BANK: BankSpec = { lengthBytes: 1, wordCount: 1 };

const STATUS_OUTPUT_FULL = 0x01;
/** What a bus gives where nobody answers. */
const DATA_NONE = 0xff;

/** Commands 0xf0..0xff pulse the output lines whose bits are 0; bit 0 is the CPU's reset. */
const COMMAND_PULSE = 0xf0;
const PULSE_NOT_RESET = 0x01;

export interface I8042Options {
  /** Port 0x60. */
  readonly dataBank: RegisterBank;
  /** Port 0x64. */
  readonly commandBank: RegisterBank;
  /** The guest asks for a reset; it may ask again before one happens. */
  readonly onReset: () => void;
}

export class I8042 extends StatelessDevice {
  readonly id = 'i8042';
  /** For the command bank's slow accesses; the data bank has none that matter. */
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
