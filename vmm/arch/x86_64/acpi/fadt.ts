/**
 * Fixed ACPI Description Table: ACPI 6.5, section 5.2.9.
 *
 * The machine is *hardware-reduced*: it has no PM timer, no power-management registers and no SCI.
 * The operating system does not use the PIC, nor check the PIT's interrupt with it. All interrupts
 * come from the IO-APIC, and Linux may number them freely, so a driver must take its interrupt from
 * ACPI, as 8250_pnp and virtio_mmio do, not from a fixed number.
 */
import {
  ACPI_SLEEP_CONTROL_PORT,
  ACPI_SLEEP_STATUS_PORT,
  I8042_COMMAND_PORT,
  I8042_RESET_COMMAND,
} from '../layout.ts';
import { composeTable, ioRegister, TABLE_HEADER_SIZE } from './table.ts';

const FADT_REVISION = 6;
const FADT_MINOR_REVISION = 5;
const FADT_SIZE = 276;

/** IAPC_BOOT_ARCH: do not probe for VGA. The bits for an i8042 and for ISA devices stay clear. */
const VGA_NOT_PRESENT = 1 << 2;

/** Fixed feature flags. A set button bit without a control method device means: no such button. */
const WBINVD = 1 << 0;
const PWR_BUTTON = 1 << 4;
const SLP_BUTTON = 1 << 5;
const RESET_REG_SUP = 1 << 10;
const HW_REDUCED_ACPI = 1 << 20;

export function composeFadt(dsdtGpa: number, rtcCenturyRegister: number): Uint8Array {
  const body = Buffer.alloc(FADT_SIZE - TABLE_HEADER_SIZE);
  const at = (offset: number) => offset - TABLE_HEADER_SIZE;
  body.writeUInt8(rtcCenturyRegister, at(108));
  body.writeUInt16LE(VGA_NOT_PRESENT, at(109));
  body.writeUInt32LE(WBINVD | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HW_REDUCED_ACPI, at(112));
  body.set(ioRegister(I8042_COMMAND_PORT), at(116));
  body.writeUInt8(I8042_RESET_COMMAND, at(128));
  body.writeUInt8(FADT_MINOR_REVISION, at(131));
  body.writeBigUInt64LE(BigInt(dsdtGpa), at(140));
  body.set(ioRegister(ACPI_SLEEP_CONTROL_PORT), at(244));
  body.set(ioRegister(ACPI_SLEEP_STATUS_PORT), at(256));
  body.write('TSVM', at(268), 'ascii'); // hypervisor vendor identity
  return composeTable('FACP', FADT_REVISION, body);
}
