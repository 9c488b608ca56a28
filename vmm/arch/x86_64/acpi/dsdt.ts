/**
 * Differentiated System Description Table: the devices that a guest cannot discover otherwise. It
 * has no methods that run during a boot: a guest would have to interpret them, on a CPU that may
 * itself be emulated.
 */
import {
  CMOS_PORT,
  COM1_GSI,
  COM1_PORT,
  PCI_CONFIG_PORTS,
  PCI_ECAM_GPA,
  PCI_ECAM_SIZE,
  PCI_WINDOW_GPA,
  PCI_WINDOW_SIZE,
  POWER_BUTTON_GSI,
  PVPANIC_PORT,
} from '../layout.ts';
import * as aml from './aml.ts';
import { hotplugEvents, hotplugSlots, type PciSlot, pciSlots } from './pci-hotplug.ts';
import { composeTable } from './table.ts';

const PCI_CONFIG_PORTS_COUNT = 8;

/** Revision 2 makes AML integers 64 bits wide. */
const DSDT_REVISION = 2;

/** Address range and interrupt of a virtio-mmio device. */
export interface VirtioMmioPlace {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly gsi: number;
}

export interface PciBusHardware {
  /** Devices can be plugged into and removed from the slots from 1 to this, at most 31. */
  readonly removableSlotMax: number;
}

export interface DsdtHardware {
  /** At most 256 devices. */
  readonly virtioMmio: readonly VirtioMmioPlace[];
  readonly pciBus?: PciBusHardware;
  /** SLP_TYP value of soft off in the sleep control register. */
  readonly sleepTypeS5: number;
}

export function composeDsdt({ virtioMmio, pciBus, sleepTypeS5 }: DsdtHardware): Uint8Array {
  const content = [
    aml.scope(
      '\\_SB',
      serialPort(),
      realTimeClock(),
      pvpanic(),
      powerButton(),
      eventDevice(),
      ...(pciBus ? pciDevices(pciBus) : []),
      ...virtioMmio.map((place, index) => virtioDevice(place, index)),
    ),
    aml.name('\\_S5', aml.packageOf(aml.integer(sleepTypeS5))),
  ];
  return composeTable('DSDT', DSDT_REVISION, Buffer.concat(content));
}

function serialPort(): Uint8Array {
  return aml.device(
    'COM1',
    aml.name('_HID', aml.eisaId('PNP0501')),
    aml.name('_CRS', aml.resourceTemplate(aml.ioPorts(COM1_PORT, 8), aml.edgeInterrupt(COM1_GSI))),
  );
}

/** Without an interrupt resource, so drivers know that there is no alarm. */
function realTimeClock(): Uint8Array {
  return aml.device(
    'RTC',
    aml.name('_HID', aml.eisaId('PNP0B00')),
    aml.name('_CRS', aml.resourceTemplate(aml.ioPorts(CMOS_PORT, 2))),
  );
}

function pvpanic(): Uint8Array {
  return aml.device(
    'PEVT',
    aml.name('_HID', aml.string('QEMU0001')),
    aml.name('_CRS', aml.resourceTemplate(aml.ioPorts(PVPANIC_PORT, 1))),
  );
}

const POWER_BUTTON = 'PWRB';
/** Notification value of a button: it was pressed (ACPI 6.5, table 5.175). */
const BUTTON_PRESSED = 0x80;

/** A control method power button: ACPI 6.5, section 4.8.2.2.1.2. */
function powerButton(): Uint8Array {
  return aml.device(POWER_BUTTON, aml.name('_HID', aml.eisaId('PNP0C0C')));
}

/**
 * The generic event device, by which hardware-reduced ACPI raises events: ACPI 6.5, section 5.6.9.
 * Its one interrupt means that the power button was pressed, so `_EVT` need not look at its number.
 */
function eventDevice(): Uint8Array {
  return aml.device(
    'GED0',
    aml.name('_HID', aml.string('ACPI0013')),
    aml.name('_CRS', aml.resourceTemplate(aml.edgeInterrupt(POWER_BUTTON_GSI))),
    aml.serializedMethod('_EVT', 1, aml.notify(POWER_BUTTON, BUTTON_PRESSED)),
  );
}

function pciDevices({ removableSlotMax }: PciBusHardware): Uint8Array[] {
  const slots = pciSlots(removableSlotMax);
  return [pciRootBus(slots), pciConfigurationArea(), hotplugEvents(slots)];
}

/**
 * The root bus of PCI Express, number 0. Its devices have no interrupt pins, so it needs no routing of
 * them (_PRT).
 */
function pciRootBus(slots: readonly PciSlot[]): Uint8Array {
  return aml.device(
    'PCI0',
    aml.name('_HID', aml.eisaId('PNP0A08')),
    aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_UID', aml.integer(0)),
    aml.name('_SEG', aml.integer(0)),
    aml.name('_BBN', aml.integer(0)),
    aml.name('_CCA', aml.integer(1)),
    aml.name(
      '_CRS',
      aml.resourceTemplate(
        aml.busNumbers(0, 1),
        aml.ioPorts(PCI_CONFIG_PORTS, PCI_CONFIG_PORTS_COUNT),
        aml.memoryWindow(PCI_WINDOW_GPA, PCI_WINDOW_SIZE),
      ),
    ),
    ...hotplugSlots(slots),
  );
}

/** Reserves the configuration spaces: Linux does not believe an MCFG alone. */
function pciConfigurationArea(): Uint8Array {
  return aml.device(
    'ECAM',
    aml.name('_HID', aml.eisaId('PNP0C02')),
    aml.name('_CRS', aml.resourceTemplate(aml.memory32Fixed(PCI_ECAM_GPA, PCI_ECAM_SIZE))),
  );
}

function virtioDevice(place: VirtioMmioPlace, index: number): Uint8Array {
  return aml.device(
    `VR${index.toString(16).toUpperCase().padStart(2, '0')}`,
    aml.name('_HID', aml.string('LNRO0005')),
    aml.name('_UID', aml.integer(index)),
    aml.name('_CCA', aml.integer(1)),
    aml.name(
      '_CRS',
      aml.resourceTemplate(
        aml.memory32Fixed(place.gpa, place.sizeBytes),
        aml.edgeInterrupt(place.gsi),
      ),
    ),
  );
}
