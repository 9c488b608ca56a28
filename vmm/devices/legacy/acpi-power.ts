/**
 * The sleep control and sleep status registers of hardware-reduced ACPI (ACPI 6.5, sections 4.8.3.7
 * and 4.8.3.8). The one sleep state is S5, soft off.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { StatelessDevice } from '../machine-device.ts';

/** Sleep control at offset 0, sleep status at 1. */
export const ACPI_POWER_BANK: BankSpec = { lengthBytes: 2, wordCount: 1 };

const SLEEP_CONTROL = 0;
const SLEEP_STATUS = 1;
const SLP_EN = 1 << 5;
const SLP_TYP_SHIFT = 2;
const SLP_TYP_MASK = 7;

/** What the DSDT's `\_S5` object must tell the guest to write as SLP_TYP. */
export const SLP_TYP_S5 = 5;

export class AcpiPower extends StatelessDevice implements RegisterHandler {
  readonly id = 'power';
  readonly #onPowerOff: () => void;

  /** @param onPowerOff the guest wants to be off; it waits for that in a loop */
  constructor(bank: RegisterBank, onPowerOff: () => void) {
    super();
    this.#onPowerOff = onPowerOff;
    /* Nothing ever wakes, so both registers read 0; WAK_STS may be cleared as often as one likes. */
    bank.setFastRegisters([
      { offset: SLEEP_CONTROL, width: 1, read: { word: 0 } },
      { offset: SLEEP_STATUS, width: 1, read: { word: 0 }, write: { kind: 'ignore' } },
    ]);
  }

  read(): number {
    return 0;
  }

  write(offset: number, _width: number, value: number): void {
    if (offset !== SLEEP_CONTROL || !(value & SLP_EN)) return;
    if (((value >> SLP_TYP_SHIFT) & SLP_TYP_MASK) === SLP_TYP_S5) this.#onPowerOff();
  }
}
