import { COM1_GSI, COM1_PORT } from '../../arch/x86_64/layout.ts';
import { Serial16550 } from '../../devices/legacy/serial-16550.ts';
import { SERIAL_BANK } from '../../devices/legacy/serial-registers.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import { type Assembly, NO_CONSOLE } from '../assembly.ts';

/** COM1, whose other end is the console, unless that is a virtio device. */
export function attachSerial(assembly: Assembly): void {
  const { machine, vm, host } = assembly;
  const bank = new KvmRegisterBank(SERIAL_BANK);
  const interrupt = vm.interruptLine(COM1_GSI);
  bank.native.setInterrupt(interrupt.event);
  const end = assembly.config.console === 'serial' ? host.console : NO_CONSOLE;
  const serial = new Serial16550({
    bank,
    interrupt,
    output: end,
    onReceiveSpace: () => end.resumeInput(),
    onOutputFailure: (error) => machine.fail(error),
  });
  assembly.attach('pio', COM1_PORT, bank, serial);
  machine.addDevice(serial);
  end.startInput((bytes) => machine.contain(() => serial.receive(bytes)) ?? false);
}
