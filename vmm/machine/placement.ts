import {
  IOAPIC_PINS,
  PCI_BAR_SIZE,
  PCI_SLOTS,
  PCI_WINDOW_GPA,
  VIRTIO_MMIO_DEVICE_SIZE,
  VIRTIO_MMIO_DEVICES_MAX,
  VIRTIO_MMIO_GPA,
} from '../arch/x86_64/layout.ts';
import { TsvmError } from '../errors.ts';

/** How virtio devices are connected to the machine. */
export const TRANSPORTS = ['mmio', 'pci'] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** What a virtio-mmio device occupies in the guest. */
export interface MmioPlacement {
  readonly kind: 'mmio';
  readonly gpa: number;
  readonly sizeBytes: number;
  readonly gsi: number;
}

/** What a device on the PCI bus occupies. */
export interface PciPlacement {
  readonly kind: 'pci';
  /** Number of the device on the bus. */
  readonly slot: number;
  /** Where its BAR is to begin with. */
  readonly barGpa: number;
}

/** Where a device is in the guest, by transport. */
export type DevicePlacement = MmioPlacement | PciPlacement;

/** Interrupt lines of a PC's own chips: timer, keyboard, cascade, COM1, RTC, FPU. */
const TAKEN_GSIS: ReadonlySet<number> = new Set([0, 1, 2, 4, 8, 13]);
const FIRST_GSI = 5;
/** An MP table describes only the 16 ISA lines. */
const GSIS_WITH_MP_TABLE = 16;

/** Slot 0 is the host bridge's. */
const FIRST_SLOT = 1;

/** Assigns a placement to each device, in the order in which kernels find them. */
export class PlacementAllocator {
  readonly #transport: Transport;
  readonly #gsis: number[] = [];
  readonly #placements: DevicePlacement[] = [];

  constructor(transport: Transport, acpi: boolean) {
    this.#transport = transport;
    const end = acpi ? IOAPIC_PINS : GSIS_WITH_MP_TABLE;
    for (let gsi = FIRST_GSI; gsi < end; gsi++) {
      if (!TAKEN_GSIS.has(gsi)) this.#gsis.push(gsi);
    }
  }

  /** The assigned placements of virtio-mmio devices. */
  get mmio(): readonly MmioPlacement[] {
    return this.#placements.filter((placement) => placement.kind === 'mmio');
  }

  /** @throws TsvmError `resource-exhausted` */
  allocate(): DevicePlacement {
    const placement = this.#transport === 'pci' ? this.#nextSlot() : this.#nextWindow();
    this.#placements.push(placement);
    return placement;
  }

  #nextSlot(): PciPlacement {
    const slot = FIRST_SLOT + this.#placements.length;
    if (slot >= PCI_SLOTS) throw exhausted('slot of the PCI bus', PCI_SLOTS - FIRST_SLOT);
    return { kind: 'pci', slot, barGpa: PCI_WINDOW_GPA + slot * PCI_BAR_SIZE };
  }

  /** A window and an interrupt line. */
  #nextWindow(): MmioPlacement {
    const count = this.#placements.length;
    const gsi = this.#gsis[count];
    if (gsi === undefined || count >= VIRTIO_MMIO_DEVICES_MAX) {
      throw exhausted('interrupt line', this.#gsis.length);
    }
    const gpa = VIRTIO_MMIO_GPA + count * VIRTIO_MMIO_DEVICE_SIZE;
    return { kind: 'mmio', gpa, sizeBytes: VIRTIO_MMIO_DEVICE_SIZE, gsi };
  }
}

function exhausted(what: string, most: number): TsvmError {
  return new TsvmError(
    'resource-exhausted',
    `no ${what} is left for another device (${most} at most): remove a disk or a network`,
  );
}
