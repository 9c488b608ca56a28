/**
 * pvpanic: the guest's kernel reports a panic (QEMU, docs/specs/pvpanic), so that it can be
 * distinguished from a reboot. Reads return the supported events, writes report events.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { StatelessDevice } from '../machine-device.ts';

export const PVPANIC_BANK: BankSpec = { lengthBytes: 1, wordCount: 1 };

/** The kernel panicked and has no crash kernel. */
export const PVPANIC_PANICKED = 1 << 0;
/** The kernel panicked and is about to run its crash kernel. */
export const PVPANIC_CRASH_LOADED = 1 << 1;
/** The guest is about to shut down normally. */
export const PVPANIC_SHUTDOWN = 1 << 2;

const SUPPORTED = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED | PVPANIC_SHUTDOWN;

export class Pvpanic extends StatelessDevice implements RegisterHandler {
  readonly id = 'pvpanic';
  readonly #onEvents: (events: number) => void;

  /** @param onEvents called with the supported events of a write, if there are any */
  constructor(bank: RegisterBank, onEvents: (events: number) => void) {
    super();
    this.#onEvents = onEvents;
    Atomics.store(bank.words, 0, SUPPORTED);
    bank.setFastRegisters([{ offset: 0, width: 1, read: { word: 0 } }]);
  }

  read(): number {
    return SUPPORTED;
  }

  write(_offset: number, _width: number, value: number): void {
    const events = value & SUPPORTED;
    if (events !== 0) this.#onEvents(events);
  }
}
