import {
  ACPI_SLEEP_CONTROL_PORT,
  BOOT_PROGRESS_PORT,
  CMOS_PORT,
  COM1_GSI,
  COM1_PORT,
  I8042_COMMAND_PORT,
  I8042_DATA_PORT,
  lowMemoryEnd,
  PVPANIC_PORT,
} from '../arch/x86_64/layout.ts';
import type { RegisterHandler } from '../bus/register-bank.ts';
import {
  ACPI_POWER_LENGTH_BYTES,
  ACPI_POWER_WORD_COUNT,
  AcpiPower,
} from '../devices/legacy/acpi-power.ts';
import {
  BOOT_PROGRESS_LENGTH_BYTES,
  BOOT_PROGRESS_WORD_COUNT,
  BootProgress,
} from '../devices/legacy/boot-progress.ts';
import { CMOS_LENGTH_BYTES, CMOS_WORD_COUNT, CmosRtc } from '../devices/legacy/cmos-rtc.ts';
import type { ConsoleOutput } from '../devices/legacy/console-output.ts';
import { I8042, I8042_LENGTH_BYTES, I8042_WORD_COUNT } from '../devices/legacy/i8042.ts';
import {
  PVPANIC_LENGTH_BYTES,
  PVPANIC_PANICKED,
  PVPANIC_WORD_COUNT,
  Pvpanic,
} from '../devices/legacy/pvpanic.ts';
import { Serial16550 } from '../devices/legacy/serial-16550.ts';
import {
  SERIAL_LENGTH_BYTES,
  SERIAL_RING_BYTES,
  SERIAL_WORD_COUNT,
} from '../devices/legacy/serial-registers.ts';
import { KvmRegisterBank } from '../kvm/register-bank.ts';
import type { BootMetrics } from './boot-metrics.ts';
import type { MachineConfig } from './config.ts';
import type { Machine } from './machine.ts';

/** The host's end of the serial console. */
export interface SerialEnd extends ConsoleOutput {
  /** Starts to hand input to `receive`, which answers false to pause it. */
  startInput(receive: (bytes: Uint8Array) => boolean): void;
  resumeInput(): void;
}

function attach(
  machine: Machine,
  port: number,
  bank: KvmRegisterBank,
  handler: RegisterHandler,
): void {
  machine.bus.attach(machine.vm.attachBank('pio', port, bank), handler);
}

/** The chips of a PC that a kernel cannot do without; the timers are KVM's own. */
export function attachLegacyDevices(
  machine: Machine,
  { memoryBytes }: MachineConfig,
  serialEnd: SerialEnd,
  metrics: BootMetrics,
): void {
  attachSerial(machine, serialEnd);

  const dataBank = new KvmRegisterBank(I8042_LENGTH_BYTES, I8042_WORD_COUNT);
  const commandBank = new KvmRegisterBank(I8042_LENGTH_BYTES, I8042_WORD_COUNT);
  const i8042 = new I8042({ dataBank, commandBank, onReset: () => machine.reset() });
  attach(machine, I8042_DATA_PORT, dataBank, i8042.dataHandler);
  attach(machine, I8042_COMMAND_PORT, commandBank, i8042.commandHandler);

  const cmosBank = new KvmRegisterBank(CMOS_LENGTH_BYTES, CMOS_WORD_COUNT);
  const rtc = new CmosRtc({
    bank: cmosBank,
    now: () => Date.now(),
    lowMemoryEnd: lowMemoryEnd(memoryBytes),
    highMemoryBytes: memoryBytes - lowMemoryEnd(memoryBytes),
  });
  attach(machine, CMOS_PORT, cmosBank, rtc);

  const powerBank = new KvmRegisterBank(ACPI_POWER_LENGTH_BYTES, ACPI_POWER_WORD_COUNT);
  const power = new AcpiPower(powerBank, () => machine.powerOff());
  attach(machine, ACPI_SLEEP_CONTROL_PORT, powerBank, power);

  const panicBank = new KvmRegisterBank(PVPANIC_LENGTH_BYTES, PVPANIC_WORD_COUNT);
  const pvpanic = new Pvpanic(panicBank, (events) => {
    if (events & PVPANIC_PANICKED) machine.panic();
  });
  attach(machine, PVPANIC_PORT, panicBank, pvpanic);

  const progressBank = new KvmRegisterBank(BOOT_PROGRESS_LENGTH_BYTES, BOOT_PROGRESS_WORD_COUNT);
  attach(machine, BOOT_PROGRESS_PORT, progressBank, new BootProgress(progressBank));
  machine.addDevice({
    name: 'boot-progress',
    poll: () => {
      for (const { value, timeMs } of progressBank.takeStamps()) metrics.stamp(value, timeMs);
    },
  });
}

function attachSerial(machine: Machine, end: SerialEnd): void {
  const bank = new KvmRegisterBank(SERIAL_LENGTH_BYTES, SERIAL_WORD_COUNT, SERIAL_RING_BYTES);
  const interrupt = machine.vm.interruptLine(COM1_GSI);
  bank.native.setInterrupt(interrupt.event);
  /** Input that the FIFO had no room for; more is not asked for until it is gone. */
  let waiting = new Uint8Array(0);
  const feed = (): boolean => {
    waiting = waiting.subarray(serial.receive(waiting));
    return waiting.byteLength === 0;
  };
  const serial = new Serial16550({
    bank,
    interrupt,
    output: end,
    onReceiveSpace: () => {
      if (feed()) end.resumeInput();
    },
    onOutputFailure: (error) => machine.fail(error),
  });
  attach(machine, COM1_PORT, bank, serial);
  const receive = (bytes: Uint8Array): boolean => {
    waiting = Buffer.concat([waiting, bytes]);
    return feed();
  };
  end.startInput((bytes) => machine.contain(() => receive(bytes)) ?? false);
  machine.addDevice({ name: 'serial', poll: () => serial.drain(), close: () => serial.flush() });
}
