/**
 * I/O port 0x80, a PC's diagnostic port. The vCPU thread records each byte written with its time
 * (`RegisterBank.takeStamps`), without an exit to JavaScript. Linux also writes to this port as a
 * delay, so the stamps mean something only for guests that use it on purpose.
 */
import type { BankSpec, RegisterBank, RegisterHandler, Stamp } from '../../bus/register-bank.ts';
import { StatelessDevice } from '../machine-device.ts';

export const BOOT_PROGRESS_BANK: BankSpec = { lengthBytes: 1, wordCount: 1 };

export class BootProgress extends StatelessDevice implements RegisterHandler {
  readonly id = 'boot-progress';
  readonly #bank: RegisterBank;
  readonly #onStamp: (stamp: Stamp) => void;

  /** @param onStamp called for each byte, soon after it was written; never during a pause */
  constructor(bank: RegisterBank, onStamp: (stamp: Stamp) => void) {
    super();
    this.#bank = bank;
    this.#onStamp = onStamp;
    bank.setFastRegisters([{ offset: 0, width: 1, read: { word: 0 }, write: { kind: 'stamp' } }]);
  }

  poll(): void {
    for (const stamp of this.#bank.takeStamps()) this.#onStamp(stamp);
  }

  read(): number {
    return 0;
  }

  write(): void {}
}
