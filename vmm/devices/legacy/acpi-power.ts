/**
 * The sleep control and sleep status registers of hardware-reduced ACPI (ACPI 6.5, sections 4.8.3.7
 * and 4.8.3.8). The only sleep state is S5, soft off.
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

/** The SLP_TYP value that the DSDT's `\_S5` object gives the guest. */
export const SLP_TYP_S5 = 5;

export class AcpiPower extends StatelessDevice implements RegisterHandler {
  readonly id = 'power';
  readonly #onPowerOff: () => void;

  /** @param onPowerOff called when the guest powers off; the guest then loops until it is stopped */
  constructor(bank: RegisterBank, onPowerOff: () => void) {
    super();
    this.#onPowerOff = onPowerOff;
    /* The machine never wakes up, so both registers read 0; clearing WAK_STS has no effect. */
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
