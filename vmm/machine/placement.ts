import {
  IOAPIC_PINS,
  VIRTIO_MMIO_DEVICE_SIZE,
  VIRTIO_MMIO_DEVICES_MAX,
  VIRTIO_MMIO_GPA,
} from '../arch/x86_64/layout.ts';
import { TsvmError } from '../errors.ts';

/** What a virtio-mmio device occupies in the guest. */
export interface MmioPlacement {
  readonly kind: 'mmio';
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly gsi: number;
}

/** Where a device is in the guest, by transport. There is only one so far. */
export type DevicePlacement = MmioPlacement;

/** Interrupt lines of a PC's own chips: timer, keyboard, cascade, COM1, RTC, FPU. */
const TAKEN_GSIS: ReadonlySet<number> = new Set([0, 1, 2, 4, 8, 13]);
const FIRST_GSI = 5;
/** An MP table describes only the 16 ISA lines. */
const GSIS_WITH_MP_TABLE = 16;

/** Assigns a placement to each device, in the order in which kernels find them. */
export class PlacementAllocator {
  readonly #gsis: number[] = [];
  readonly #placements: DevicePlacement[] = [];

  constructor(acpi: boolean) {
    const end = acpi ? IOAPIC_PINS : GSIS_WITH_MP_TABLE;
    for (let gsi = FIRST_GSI; gsi < end; gsi++) {
      if (!TAKEN_GSIS.has(gsi)) this.#gsis.push(gsi);
    }
  }

  /** The assigned placements. */
  get placements(): readonly DevicePlacement[] {
    return this.#placements;
  }

  /**
   * A window and an interrupt line.
   * @throws TsvmError `resource-exhausted` when the interrupt lines are used up
   */
  allocateMmio(): MmioPlacement {
    const count = this.#placements.length;
    const gsi = this.#gsis[count];
    if (gsi === undefined || count >= VIRTIO_MMIO_DEVICES_MAX) {
      throw new TsvmError(
        'resource-exhausted',
        `no interrupt line is left for another device (${this.#gsis.length} at most): remove a disk or a network`,
      );
    }
    const gpa = VIRTIO_MMIO_GPA + count * VIRTIO_MMIO_DEVICE_SIZE;
    const placement = { kind: 'mmio', gpa, sizeBytes: VIRTIO_MMIO_DEVICE_SIZE, gsi } as const;
    this.#placements.push(placement);
    return placement;
  }
}
