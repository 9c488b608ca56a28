/** The chips of a PC that kernels require. KVM provides the timers. */
import {
  ACPI_SLEEP_CONTROL_PORT,
  BOOT_PROGRESS_PORT,
  CMOS_PORT,
  I8042_COMMAND_PORT,
  I8042_DATA_PORT,
  lowMemoryEnd,
  POWER_BUTTON_GSI,
  PVPANIC_PORT,
} from '../../arch/x86_64/layout.ts';
import { ACPI_POWER_BANK, AcpiPower } from '../../devices/legacy/acpi-power.ts';
import { BOOT_PROGRESS_BANK, BootProgress } from '../../devices/legacy/boot-progress.ts';
import { CMOS_BANK, CmosRtc } from '../../devices/legacy/cmos-rtc.ts';
import { I8042, I8042_BANK } from '../../devices/legacy/i8042.ts';
import { PVPANIC_BANK, PVPANIC_PANICKED, Pvpanic } from '../../devices/legacy/pvpanic.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import type { Assembly } from '../assembly.ts';

export function attachI8042(assembly: Assembly): void {
  const dataBank = new KvmRegisterBank(I8042_BANK);
  const commandBank = new KvmRegisterBank(I8042_BANK);
  const i8042 = new I8042({ dataBank, commandBank, onReset: () => assembly.machine.reset() });
  assembly.attach('pio', I8042_DATA_PORT, dataBank, i8042.dataHandler);
  assembly.attach('pio', I8042_COMMAND_PORT, commandBank, i8042.commandHandler);
  assembly.machine.addDevice(i8042);
}

export function attachRtc(assembly: Assembly): void {
  const { memoryBytes } = assembly.config;
  const bank = new KvmRegisterBank(CMOS_BANK);
  const rtc = new CmosRtc({
    bank,
    now: () => Date.now(),
    lowMemoryEnd: lowMemoryEnd(memoryBytes),
    highMemoryBytes: memoryBytes - lowMemoryEnd(memoryBytes),
  });
  assembly.attach('pio', CMOS_PORT, bank, rtc);
  assembly.machine.addDevice(rtc);
}

export function attachPower(assembly: Assembly): void {
  const bank = new KvmRegisterBank(ACPI_POWER_BANK);
  const power = new AcpiPower(bank, () => assembly.machine.powerOff());
  assembly.attach('pio', ACPI_SLEEP_CONTROL_PORT, bank, power);
  assembly.machine.addDevice(power);
  // The DSDT describes the button; it keeps no state.
  if (!assembly.config.acpi) return;
  const button = assembly.vm.interruptLine(POWER_BUTTON_GSI);
  assembly.machine.controls.pressPowerButton = () => button.pulse();
}

export function attachPvpanic(assembly: Assembly): void {
  const bank = new KvmRegisterBank(PVPANIC_BANK);
  const pvpanic = new Pvpanic(bank, (events) => {
    if (events & PVPANIC_PANICKED) assembly.machine.panic();
  });
  assembly.attach('pio', PVPANIC_PORT, bank, pvpanic);
  assembly.machine.addDevice(pvpanic);
}

export function attachBootProgress(assembly: Assembly): void {
  const bank = new KvmRegisterBank(BOOT_PROGRESS_BANK);
  const progress = new BootProgress(bank, ({ value, timeMs }) =>
    assembly.host.onProgress(value, timeMs),
  );
  assembly.attach('pio', BOOT_PROGRESS_PORT, bank, progress);
  assembly.machine.addDevice(progress);
}
