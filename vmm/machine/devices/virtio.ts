import {
  MMIO_BANK,
  MMIO_INTERRUPT_STATUS_WORD,
  MmioTransport,
} from '../../devices/virtio/transport/mmio.ts';
import { MmioRegister } from '../../devices/virtio/transport/mmio-registers.ts';
import { KvmRegisterBank } from '../../kvm/register-bank.ts';
import { RateLimit } from '../../observability/rate-limit.ts';
import type { Assembly, CreateDevice } from '../assembly.ts';
import type { DeviceOwner } from '../device-scope.ts';
import type { DevicePlacement, MmioPlacement } from '../placement.ts';

/** QueueNotify is written 32 bits wide. */
const NOTIFY_BYTES = 4;

/**
 * Attaches a device at its placement: registers, a kick per queue, interrupts.
 * @param owner of the device, if that is not the machine
 */
export function attachVirtio(
  assembly: Assembly,
  placement: DevicePlacement,
  queueCount: number,
  createDevice: CreateDevice,
  owner: DeviceOwner = assembly.machine,
): void {
  if (placement.kind === 'mmio') attachMmio(assembly, placement, queueCount, createDevice, owner);
  else assembly.pciBus?.attach(placement, queueCount, createDevice, owner);
}

function attachMmio(
  assembly: Assembly,
  placement: MmioPlacement,
  queueCount: number,
  createDevice: CreateDevice,
  owner: DeviceOwner,
): void {
  const { machine, vm, memory, host } = assembly;
  const bank = new KvmRegisterBank(MMIO_BANK);
  const interrupt = vm.interruptLine(placement.gsi);
  const notifyGpa = placement.gpa + MmioRegister.QueueNotify;
  const device = createDevice({
    memory,
    kicks: Array.from({ length: queueCount }, (_, queue) =>
      vm.kickEvent(notifyGpa, NOTIFY_BYTES, queue),
    ),
    interrupts: [interrupt],
    interruptStatus: { bank, word: MMIO_INTERRUPT_STATUS_WORD },
    contain: (action) => machine.contain(action),
  });
  const guestErrors = new RateLimit();
  const transport = new MmioTransport({
    device,
    bank,
    interrupt,
    onGuestError: (reason) => guestErrors.log(host.logger.warn, reason),
  });
  assembly.attach('mmio', placement.gpa, bank, transport);
  owner.addDevice(transport);
}
