/**
 * Differentiated System Description Table: the devices that a guest cannot find by itself. All of
 * it is plain names. A method in place of one would be interpreted, by a CPU that may be emulated.
 */
import { CMOS_PORT, COM1_GSI, COM1_PORT, PVPANIC_PORT } from '../layout.ts';
import * as aml from './aml.ts';
import { composeTable } from './table.ts';

/** Revision 2 makes AML integers 64 bits wide. */
const DSDT_REVISION = 2;

/** A virtio-mmio device's place. */
export interface VirtioMmioPlace {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly gsi: number;
}

/**
 * @param virtioMmio at most 256 devices
 * @param sleepTypeS5 what the sleep control register takes as SLP_TYP for soft off
 */
export function composeDsdt(
  virtioMmio: readonly VirtioMmioPlace[],
  sleepTypeS5: number,
): Uint8Array {
  const content = [
    aml.scope(
      '\\_SB',
      serialPort(),
      realTimeClock(),
      pvpanic(),
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

/** No interrupt: a driver learns from that that there are no alarms. */
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
