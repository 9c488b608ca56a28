import {
  VIRTIO_MMIO_DEVICE_SIZE,
  VIRTIO_MMIO_DEVICES_MAX,
  VIRTIO_MMIO_GPA,
} from '../arch/x86_64/layout.ts';
import { TsvmError } from '../errors.ts';

/** What a virtio-mmio device occupies in the guest. */
export interface MmioSlot {
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly gsi: number;
}

/** Lines that a PC gives to chips of its own: timer, keyboard, cascade, COM1, RTC, FPU. */
const TAKEN_GSIS: ReadonlySet<number> = new Set([0, 1, 2, 4, 8, 13]);
const FIRST_GSI = 5;
/** Pins of the IO-APIC; an MP table tells a kernel of the 16 ISA lines only. */
const GSIS_WITH_ACPI = 24;
const GSIS_WITH_MP_TABLE = 16;

/** Gives each virtio-mmio device a window and an interrupt line of its own. */
export class MmioAllocator {
  readonly #gsis: number[] = [];
  #count = 0;

  constructor(acpi: boolean) {
    const end = acpi ? GSIS_WITH_ACPI : GSIS_WITH_MP_TABLE;
    for (let gsi = FIRST_GSI; gsi < end; gsi++) {
      if (!TAKEN_GSIS.has(gsi)) this.#gsis.push(gsi);
    }
  }

  /** @throws TsvmError `resource-exhausted` when the interrupt lines are used up */
  allocate(): MmioSlot {
    const gsi = this.#gsis[this.#count];
    if (gsi === undefined || this.#count >= VIRTIO_MMIO_DEVICES_MAX) {
      throw new TsvmError(
        'resource-exhausted',
        `no interrupt line is left for another device (${this.#gsis.length} at most): remove a disk`,
      );
    }
    const gpa = VIRTIO_MMIO_GPA + this.#count * VIRTIO_MMIO_DEVICE_SIZE;
    this.#count++;
    return { gpa, sizeBytes: VIRTIO_MMIO_DEVICE_SIZE, gsi };
  }
}
