import {
  IOAPIC_PINS,
  PCI_BAR_SIZE,
  PCI_SLOT_FIRST,
  PCI_SLOTS,
  PCI_WINDOW_GPA,
  VIRTIO_MMIO_DEVICE_SIZE,
  VIRTIO_MMIO_DEVICES_MAX,
  VIRTIO_MMIO_GPA,
} from '../arch/x86_64/layout.ts';
import { TsvmError } from '../errors.ts';
import type { DeviceIdentity } from './device-ids.ts';

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

/** The configuration of a device with its id, and with its slot if it has one. */
export type Placed<C extends DeviceIdentity> = C & { readonly id: string };

export function placed<C extends DeviceIdentity>(
  config: C,
  id: string,
  placement: DevicePlacement,
): Placed<C> {
  return { ...config, id, ...(placement.kind === 'pci' && { slot: placement.slot }) };
}

/** Interrupt lines of a PC's own chips: timer, keyboard, cascade, COM1, RTC, FPU. */
const TAKEN_GSIS: ReadonlySet<number> = new Set([0, 1, 2, 4, 8, 13]);
const FIRST_GSI = 5;
/** An MP table describes only the 16 ISA lines. */
const GSIS_WITH_MP_TABLE = 16;

/** Slots for devices that are added while the machine runs, besides those of removed ones. */
const SPARE_SLOTS = 8;

/** From the highest. */
const PCI_SLOTS_DOWN = Array.from(
  { length: PCI_SLOTS - PCI_SLOT_FIRST },
  (_, index) => PCI_SLOTS - 1 - index,
);

/**
 * Assigns a placement to each device, in the order in which kernels find them. On the PCI bus, the
 * devices that can be removed have the lowest slots, and the others the highest: theirs do not depend on
 * how many of the former there are.
 */
export class PlacementAllocator {
  readonly #transport: Transport;
  readonly #gsis: number[] = [];
  readonly #mmio: MmioPlacement[] = [];
  readonly #slots = new Set<number>();
  readonly #removableSlots = new Set<number>();
  readonly #reserved: ReadonlySet<number>;
  /** The highest slot for a device that can be removed. */
  #removableEnd = PCI_SLOTS - 1;

  /** @param reservedSlots slots that {@link allocateRemovable} assigns only when asked for them */
  constructor(transport: Transport, acpi: boolean, reservedSlots: readonly number[] = []) {
    this.#transport = transport;
    this.#reserved = new Set(reservedSlots);
    const end = acpi ? IOAPIC_PINS : GSIS_WITH_MP_TABLE;
    for (let gsi = FIRST_GSI; gsi < end; gsi++) {
      if (!TAKEN_GSIS.has(gsi)) this.#gsis.push(gsi);
    }
  }

  /** The assigned placements of virtio-mmio devices. */
  get mmio(): readonly MmioPlacement[] {
    return this.#mmio;
  }

  /**
   * The highest slot from which devices can be removed, for the tables that describe the machine. From now
   * on, there are so many: those in use, and some for devices to come. Each costs guests time when they boot.
   */
  settleRemovable(): number {
    const used = [...this.#removableSlots];
    this.#removableEnd = Math.min(Math.max(0, ...used) + SPARE_SLOTS, PCI_SLOTS - 1);
    return this.#removableEnd;
  }

  /** Windows for devices to come, fewer if there is no room for so many. */
  allocateSpareWindows(count: number): MmioPlacement[] {
    const room = Math.min(this.#gsis.length, VIRTIO_MMIO_DEVICES_MAX) - this.#mmio.length;
    return Array.from({ length: Math.min(count, room) }, () => this.#nextWindow());
  }

  /** For a device that stays as long as the machine. @throws TsvmError `resource-exhausted` */
  allocate(): DevicePlacement {
    return this.#transport === 'pci' ? this.#takeSlot(PCI_SLOTS_DOWN) : this.#nextWindow();
  }

  /**
   * As {@link allocate}, for devices of which a kernel numbers the first 0, the second 1 and so on: it
   * looks at the lower slots first.
   */
  allocateSeries(count: number): readonly DevicePlacement[] {
    const series = Array.from({ length: count }, () => this.allocate());
    return this.#transport === 'pci' ? series.toReversed() : series;
  }

  /**
   * For a device that can be removed, if its transport can do that.
   * @param slot on the PCI bus; default: the first that is free
   * @throws TsvmError `resource-exhausted`, `invalid-config` if the slot is taken
   */
  allocateRemovable(slot?: number): DevicePlacement {
    return this.#transport === 'pci' ? this.allocateSlot(slot) : this.#nextWindow();
  }

  /** As {@link allocateRemovable}, on the PCI bus. */
  allocateSlot(slot?: number): PciPlacement {
    const isTooHigh = slot !== undefined && slot > this.#removableEnd;
    if (slot !== undefined && (this.#slots.has(slot) || isTooHigh)) {
      const problem = isTooHigh ? `beyond ${this.#removableEnd}` : 'taken';
      throw new TsvmError(
        'invalid-config',
        `slot ${slot} of the PCI bus is ${problem}: leave it out`,
      );
    }
    const placement =
      slot === undefined
        ? this.#takeSlot(PCI_SLOTS_DOWN.toReversed().slice(0, this.#removableEnd))
        : this.#placeAt(slot);
    this.#removableSlots.add(placement.slot);
    return placement;
  }

  /** The slot of a device that was removed is free again. */
  release(placement: PciPlacement): void {
    this.#slots.delete(placement.slot);
    this.#removableSlots.delete(placement.slot);
  }

  #takeSlot(candidates: readonly number[]): PciPlacement {
    const slot = candidates.find((each) => !this.#slots.has(each) && !this.#reserved.has(each));
    if (slot === undefined) throw exhausted('slot of the PCI bus', candidates.length);
    return this.#placeAt(slot);
  }

  #placeAt(slot: number): PciPlacement {
    this.#slots.add(slot);
    return { kind: 'pci', slot, barGpa: PCI_WINDOW_GPA + slot * PCI_BAR_SIZE };
  }

  /** A window and an interrupt line. */
  #nextWindow(): MmioPlacement {
    const count = this.#mmio.length;
    const gsi = this.#gsis[count];
    if (gsi === undefined || count >= VIRTIO_MMIO_DEVICES_MAX) {
      throw exhausted('interrupt line', this.#gsis.length);
    }
    const gpa = VIRTIO_MMIO_GPA + count * VIRTIO_MMIO_DEVICE_SIZE;
    const placement = { kind: 'mmio', gpa, sizeBytes: VIRTIO_MMIO_DEVICE_SIZE, gsi } as const;
    this.#mmio.push(placement);
    return placement;
  }
}

function exhausted(what: string, most: number): TsvmError {
  return new TsvmError(
    'resource-exhausted',
    `no ${what} is left for another device (${most} at most): remove a disk or a network`,
  );
}
