import type { Assembly, CreateDevice } from '../assembly.ts';
import type { DeviceOwner } from '../device-scope.ts';
import type { DevicePlacement } from '../placement.ts';
import { MmioWindow } from './mmio-window.ts';

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
  if (placement.kind === 'pci') {
    assembly.pciBus?.attach(placement, queueCount, createDevice, owner);
    return;
  }
  const { mmioWindows } = assembly;
  let window = mmioWindows.get(placement);
  if (window === undefined) {
    window = new MmioWindow(assembly, placement);
    mmioWindows.set(placement, window);
  }
  window.plug(queueCount, createDevice, owner);
}
