/**
 * pvpanic: the guest's kernel tells that it has panicked (QEMU, docs/specs/pvpanic), so that a panic
 * can be told from a reboot. A read gives the events that the machine understands, a write is a
 * set of events.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { StatelessDevice } from '../machine-device.ts';

export const PVPANIC_BANK: BankSpec = { lengthBytes: 1, wordCount: 1 };

/** The kernel panicked and has no crash kernel. */
export const PVPANIC_PANICKED = 1 << 0;
/** The kernel panicked and is about to run its crash kernel. */
export const PVPANIC_CRASH_LOADED = 1 << 1;
/** The guest is about to shut down in order. */
export const PVPANIC_SHUTDOWN = 1 << 2;

const SUPPORTED = PVPANIC_PANICKED | PVPANIC_CRASH_LOADED | PVPANIC_SHUTDOWN;

export class Pvpanic extends StatelessDevice implements RegisterHandler {
  readonly id = 'pvpanic';
  readonly #onEvents: (events: number) => void;

  /** @param onEvents is given the supported events of one write, at least one */
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
