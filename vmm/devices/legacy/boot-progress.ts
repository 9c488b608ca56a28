/**
 * I/O port 0x80, a PC's diagnostic port: each byte written is kept with its time by the vCPU thread
 * (`NativeRegisterBank.drainStamps`), and no exit reaches JavaScript. Linux also writes to it as a
 * delay, so stamps mean something only where a guest agrees to them.
 */
import type { RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';

export const BOOT_PROGRESS_LENGTH_BYTES = 1;
export const BOOT_PROGRESS_WORD_COUNT = 1;

export class BootProgress implements RegisterHandler {
  constructor(bank: RegisterBank) {
    bank.setFastRegisters([{ offset: 0, width: 1, read: { word: 0 }, write: { kind: 'stamp' } }]);
  }

  read(): number {
    return 0;
  }

  write(): void {}
}
