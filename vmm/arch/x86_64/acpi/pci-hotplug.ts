/**
 * Hotplug of PCI devices by ACPI: ACPI 6.5, sections 5.6.6 (notifications) and 6.3 (removal). The
 * registers are those of `devices/pci/hotplug.ts`. Nothing here runs during a boot.
 */
import { PCI_HOTPLUG_GSI, PCI_HOTPLUG_PORTS, PCI_SLOT_FIRST } from '../layout.ts';
import * as aml from './aml.ts';

/** Notification values (ACPI 6.5, table 5.174). */
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;

const BUS = '\\_SB.PCI0';
/** The registers: slots with a new device, slots to be emptied (both clear when read), an ejection. */
const ADDED = 'PADD';
const LEAVING = 'PRMV';
const EJECTED = 'PEJT';

/** A slot of the bus, the name of its device, and its bit in the registers. */
export interface PciSlot {
  readonly slot: number;
  readonly path: string;
  readonly bit: number;
}

/** The slots from the first to `max`. */
export function pciSlots(max: number): PciSlot[] {
  return Array.from({ length: max - PCI_SLOT_FIRST + 1 }, (_, index) => {
    const slot = PCI_SLOT_FIRST + index;
    const path = `S${slot.toString(16).toUpperCase().padStart(2, '0')}`;
    return { slot, path, bit: 2 ** slot };
  });
}

/** What belongs into the bus's device: the registers, and a device a slot, which can be ejected. */
export function hotplugSlots(slots: readonly PciSlot[]): Uint8Array[] {
  return [
    aml.portRegisters('PHPR', PCI_HOTPLUG_PORTS, [ADDED, LEAVING, EJECTED]),
    ...slots.map(({ slot, path, bit }) =>
      aml.device(
        path,
        aml.name('_ADR', aml.integer(slot << 16)),
        aml.name('_SUN', aml.integer(slot)),
        aml.serializedMethod('_EJ0', 1, aml.store(aml.integer(bit), aml.namedValue(EJECTED))),
      ),
    ),
  ];
}

/**
 * A generic event device (ACPI 6.5, section 5.6.9) of its own, whose one interrupt means: look at the
 * registers.
 */
export function hotplugEvents(slots: readonly PciSlot[]): Uint8Array {
  const [added, leaving] = [aml.local(0), aml.local(1)];
  return aml.device(
    'GED1',
    aml.name('_HID', aml.string('ACPI0013')),
    aml.name('_UID', aml.integer(1)),
    aml.name('_CRS', aml.resourceTemplate(aml.edgeInterrupt(PCI_HOTPLUG_GSI))),
    aml.serializedMethod(
      '_EVT',
      1,
      aml.store(aml.namedValue(`${BUS}.${ADDED}`), added),
      aml.store(aml.namedValue(`${BUS}.${LEAVING}`), leaving),
      ...slots.flatMap(({ path, bit }) => [
        aml.ifBits(leaving, bit, aml.notify(`${BUS}.${path}`, EJECT_REQUEST)),
        aml.ifBits(added, bit, aml.notify(`${BUS}.${path}`, DEVICE_CHECK)),
      ]),
    ),
  );
}
