/** The modern PCI transport (virtio 1.2, section 4.1), with a vector of MSI-X a queue. It knows no device. */
import { type DeviceState, StateReader } from '../../device-state.ts';
import type { Counters, Gauges, MachineDevice } from '../../machine-device.ts';
import { PciConfigSpace } from '../../pci/config-space.ts';
import { type MessageTarget, Msix } from '../../pci/msix.ts';
import type { PciFunction } from '../../pci/root-bus.ts';
import type { VirtioDevice } from '../device.ts';
import type { QueueAddressHalf } from '../queue.ts';
import { DRIVER_OK } from '../status.ts';
import { CommonConfig } from './common-config.ts';
import {
  BAR_BYTES,
  CapabilityType,
  COMMON_BYTES,
  COMMON_OFFSET,
  COMMON_WIDTHS,
  CommonRegister,
  DEVICE_BYTES,
  DEVICE_OFFSET,
  ISR_BYTES,
  ISR_CONFIG,
  ISR_OFFSET,
  MSIX_PENDING_OFFSET,
  MSIX_TABLE_OFFSET,
  NO_VECTOR,
  NOTIFY_BYTES,
  NOTIFY_MULTIPLIER,
  NOTIFY_OFFSET,
  PCI_DEVICE_BASE,
  PCI_VENDOR_VIRTIO,
} from './pci-registers.ts';
import { structureCapability } from './pci-structure.ts';
import { PciWindow } from './pci-window.ts';

/** Class codes of device types (PCI Code and ID Assignment 1.11); others have none of their own. */
const CLASS_CODES: Readonly<Record<number, number>> = {
  1: 0x02_0000, // network: Ethernet
  2: 0x01_8000, // block: other mass storage
  3: 0x07_8000, // console: other communication
};
const OTHER_CLASS = 0xff_0000;

const QUEUE_ADDRESSES: ReadonlyMap<number, QueueAddressHalf> = new Map<number, QueueAddressHalf>([
  [CommonRegister.QueueDescriptorLow, { part: 'descriptor', half: 'low' }],
  [CommonRegister.QueueDescriptorHigh, { part: 'descriptor', half: 'high' }],
  [CommonRegister.QueueDriverLow, { part: 'available', half: 'low' }],
  [CommonRegister.QueueDriverHigh, { part: 'available', half: 'high' }],
  [CommonRegister.QueueDeviceLow, { part: 'used', half: 'low' }],
  [CommonRegister.QueueDeviceHigh, { part: 'used', half: 'high' }],
]);

export interface PciTransportOptions {
  readonly device: VirtioDevice;
  /** The messages: one for changes of the configuration, and one a queue. */
  readonly messages: readonly MessageTarget[];
  /**
   * Called before the device goes into service, with the address of BAR 0, which drivers may move:
   * where the kicks' ioeventfds are to be. Undefined: the BAR is not decoded.
   */
  readonly placeKicks: (barGpa: number | undefined) => void;
  /** Where a queue's kicks go that have not reached its ioeventfd, because a driver moved the BAR later. */
  readonly kick: (queue: number) => void;
  /** Where BAR 0 is to begin with. */
  readonly barGpa: number;
  /** Reports a guest error, for the log. The callee limits the rate. */
  readonly onGuestError: (reason: string) => void;
}

export class PciTransport implements PciFunction, MachineDevice {
  readonly id: string;
  readonly config: PciConfigSpace;
  readonly barBytes = BAR_BYTES;
  readonly #device: VirtioDevice;
  readonly #common: CommonConfig;
  readonly #msix: Msix;
  readonly #window: PciWindow;
  readonly #kick: (queue: number) => void;
  readonly #placeKicks: (barGpa: number | undefined) => void;
  readonly #queueVectors: number[];
  #configVector = NO_VECTOR;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #queueSelect = 0;
  #isr = 0;
  /** Accesses that the specification forbids, or to offsets without a register. */
  #ignoredReads = 0;
  #ignoredWrites = 0;

  constructor(options: PciTransportOptions) {
    const { device, messages } = options;
    this.id = device.id;
    this.#device = device;
    this.#kick = options.kick;
    this.#placeKicks = options.placeKicks;
    this.#queueVectors = device.queueSizes.map(() => NO_VECTOR);
    this.config = new PciConfigSpace({
      vendorId: PCI_VENDOR_VIRTIO,
      deviceId: PCI_DEVICE_BASE + device.deviceId,
      classCode: CLASS_CODES[device.deviceId] ?? OTHER_CLASS,
      subsystemVendorId: PCI_VENDOR_VIRTIO,
      subsystemId: PCI_DEVICE_BASE + device.deviceId,
    });
    this.config.setBar0(options.barGpa, BAR_BYTES);
    this.#window = this.#addCapabilities();
    this.#msix = new Msix({
      config: this.config,
      targets: messages,
      place: { tableOffset: MSIX_TABLE_OFFSET, pendingOffset: MSIX_PENDING_OFFSET },
      mayHaveMissed: (vector) =>
        (this.#common.status & DRIVER_OK) !== 0 && this.#queueVectors.includes(vector),
    });
    this.#common = new CommonConfig({
      device,
      notifyConfigChange: () => {
        this.#isr |= ISR_CONFIG;
        this.#msix.pulse(this.#configVector);
      },
      onReset: () => this.#clear(),
      onGuestError: (reason) => options.onGuestError(`${device.id}: ${reason}`),
      interruptOf: (queue) => {
        const vector = this.#queueVectors[queue] ?? NO_VECTOR;
        return vector === NO_VECTOR ? null : vector;
      },
    });
  }

  #addCapabilities(): PciWindow {
    const { config } = this;
    const notifyBytes = Math.min(NOTIFY_BYTES, NOTIFY_MULTIPLIER * this.#queueVectors.length);
    const structures = [
      structureCapability(CapabilityType.Common, COMMON_OFFSET, COMMON_BYTES),
      structureCapability(CapabilityType.Isr, ISR_OFFSET, ISR_BYTES),
      structureCapability(CapabilityType.Device, DEVICE_OFFSET, DEVICE_BYTES),
      structureCapability(CapabilityType.Notify, NOTIFY_OFFSET, notifyBytes, NOTIFY_MULTIPLIER),
    ];
    for (const { identifier, content } of structures) config.addCapability(identifier, content);
    return new PciWindow(config);
  }

  /** Resets the device, as its driver can. A promise resolves when it no longer accesses the guest. */
  reset(): void | Promise<void> {
    return this.#common.reset();
  }

  quiesce(): Promise<void> {
    return this.#common.quiesce();
  }

  resume(): void {
    if ((this.#common.status & DRIVER_OK) !== 0) this.#placeKicks(this.config.bar0);
    this.#common.resume();
  }

  save(): DeviceState {
    return {
      version: 1,
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      queueSelect: this.#queueSelect,
      isr: this.#isr,
      configVector: this.#configVector,
      queueVectors: this.#queueVectors.map((vector) => ({ vector })),
      config: this.config.save(),
      msix: this.#msix.save(),
      common: this.#common.save(),
    };
  }

  load(state: DeviceState): void {
    const reader = new StateReader(this.id, state, 1);
    this.#deviceFeatureSelect = reader.number('deviceFeatureSelect', 0xffff_ffff);
    this.#driverFeatureSelect = reader.number('driverFeatureSelect', 0xffff_ffff);
    this.#queueSelect = reader.number('queueSelect', 0xffff);
    this.#isr = reader.number('isr', 0xff);
    this.#configVector = this.#usableVector(reader.number('configVector', NO_VECTOR));
    const vectors = reader.list('queueVectors', this.#queueVectors.length);
    for (const [queue, each] of vectors.entries()) {
      this.#queueVectors[queue] = this.#usableVector(each.number('vector', NO_VECTOR));
    }
    this.config.load(reader.part('config'));
    this.#common.load(reader.part('common'));
    this.#msix.load(reader.part('msix'));
  }

  async close(): Promise<void> {
    await this.reset();
  }

  statistics(): Counters {
    return {
      ...this.#device.statistics(),
      ignoredReads: this.#ignoredReads,
      ignoredWrites: this.#ignoredWrites,
    };
  }

  queueStatistics(): readonly Counters[] {
    return this.#device.queueStatistics?.() ?? [];
  }

  gauges(): Gauges {
    return this.#device.gauges?.() ?? {};
  }

  configRead(offset: number, width: number): void {
    this.#window.beforeRead(offset, width, (at, bytes) => this.readBar(at, bytes));
  }

  configWritten(offset: number, width: number): void | Promise<void> {
    if (this.#msix.hasControl(offset, width)) this.#msix.update();
    return this.#window.afterWrite(offset, width, (at, bytes, value) =>
      this.writeBar(at, bytes, value),
    );
  }

  /** Offsets without a readable register read 0. */
  readBar(offset: number, width: number): number {
    const value = this.#read(offset, width);
    if (value === undefined) this.#ignoredReads += 1;
    return value ?? 0;
  }

  #read(offset: number, width: number): number | undefined {
    if (offset < COMMON_OFFSET + COMMON_BYTES) {
      return COMMON_WIDTHS.get(offset) === width ? this.#readCommon(offset) : undefined;
    }
    if (offset === ISR_OFFSET && width === 1) return this.#takeIsr();
    if (offset >= DEVICE_OFFSET && offset < DEVICE_OFFSET + DEVICE_BYTES) {
      return this.#device.config.read(offset - DEVICE_OFFSET, width);
    }
    if (offset >= MSIX_TABLE_OFFSET && offset < MSIX_TABLE_OFFSET + this.#msix.tableBytes) {
      return this.#msix.readTable(offset - MSIX_TABLE_OFFSET, width);
    }
    // Among others, the pending bits: see Msix.
    return offset >= MSIX_PENDING_OFFSET ? 0 : undefined;
  }

  writeBar(offset: number, width: number, value: number): void | Promise<void> {
    if (offset < COMMON_OFFSET + COMMON_BYTES) return this.#writeCommon(offset, width, value);
    if (offset >= DEVICE_OFFSET && offset < DEVICE_OFFSET + DEVICE_BYTES) {
      if (this.#device.writeConfig === undefined) this.#ignoredWrites += 1;
      else this.#device.writeConfig(offset - DEVICE_OFFSET, width, value);
    } else if (offset >= NOTIFY_OFFSET && offset < NOTIFY_OFFSET + NOTIFY_BYTES) {
      this.#kick((offset - NOTIFY_OFFSET) / NOTIFY_MULTIPLIER);
    } else if (offset >= MSIX_TABLE_OFFSET && offset < MSIX_TABLE_OFFSET + this.#msix.tableBytes) {
      this.#msix.writeTable(offset - MSIX_TABLE_OFFSET, width, value);
    } else {
      this.#ignoredWrites += 1;
    }
    return undefined;
  }

  #takeIsr(): number {
    const isr = this.#isr;
    this.#isr = 0;
    return isr;
  }

  #readCommon(offset: number): number | undefined {
    const queue = this.#common.queueRegisters(this.#queueSelect);
    switch (offset) {
      case CommonRegister.DeviceFeatureSelect:
        return this.#deviceFeatureSelect;
      case CommonRegister.DeviceFeature:
        return this.#common.deviceFeatures(this.#deviceFeatureSelect);
      case CommonRegister.DriverFeatureSelect:
        return this.#driverFeatureSelect;
      case CommonRegister.DriverFeature:
        return this.#common.driverFeatures(this.#driverFeatureSelect);
      case CommonRegister.ConfigVector:
        return this.#configVector;
      case CommonRegister.NumQueues:
        return this.#device.queueSizes.length;
      case CommonRegister.DeviceStatus:
        return this.#common.status;
      case CommonRegister.ConfigGeneration:
        return this.#device.config.generation & 0xff;
      case CommonRegister.QueueSelect:
        return this.#queueSelect;
      case CommonRegister.QueueSize:
        // "0 means the queue is unavailable" (4.1.4.3).
        return queue?.size ?? 0;
      case CommonRegister.QueueVector:
        return this.#queueVectors[this.#queueSelect] ?? NO_VECTOR;
      case CommonRegister.QueueEnable:
        return queue?.ready === true ? 1 : 0;
      case CommonRegister.QueueNotifyOffset:
        return this.#queueSelect;
      default: {
        const address = QUEUE_ADDRESSES.get(offset);
        return address && (queue?.[address.part][address.half] ?? 0);
      }
    }
  }

  #writeCommon(offset: number, width: number, value: number): void | Promise<void> {
    if (COMMON_WIDTHS.get(offset) !== width) {
      this.#ignoredWrites += 1;
      return undefined;
    }
    if (offset === CommonRegister.DeviceStatus && value === 0) return this.reset();
    const done = this.#setCommon(offset, value);
    if (done instanceof Promise) return done;
    if (!done) this.#ignoredWrites += 1;
    return undefined;
  }

  /** @returns whether the write was legal, or a promise if it was and is not yet complete */
  #setCommon(offset: number, value: number): boolean | Promise<void> {
    switch (offset) {
      case CommonRegister.DeviceFeatureSelect:
        this.#deviceFeatureSelect = value;
        return true;
      case CommonRegister.DriverFeatureSelect:
        this.#driverFeatureSelect = value;
        return true;
      case CommonRegister.DriverFeature:
        return this.#common.setDriverFeatures(this.#driverFeatureSelect, value);
      case CommonRegister.ConfigVector:
        this.#configVector = this.#usableVector(value);
        return true;
      case CommonRegister.DeviceStatus:
        if ((value & DRIVER_OK) !== 0) this.#placeKicks(this.config.bar0);
        return this.#common.setStatus(value);
      case CommonRegister.QueueSelect:
        this.#queueSelect = value;
        return true;
      case CommonRegister.QueueVector:
        return this.#setQueueVector(value);
      case CommonRegister.QueueEnable:
        // "The driver MUST NOT write a 0 to queue_enable" (4.1.4.3.2).
        return value === 1 && this.#common.setQueueReady(this.#queueSelect, true);
      case CommonRegister.QueueSize:
        return this.#common.setQueueSize(this.#queueSelect, value);
      default:
        return this.#setQueueAddress(offset, value);
    }
  }

  #setQueueAddress(offset: number, value: number): boolean {
    const address = QUEUE_ADDRESSES.get(offset);
    return address !== undefined && this.#common.setQueueAddress(this.#queueSelect, address, value);
  }

  #setQueueVector(value: number): boolean {
    const queue = this.#queueSelect;
    if (!this.#common.mayChooseInterrupt(queue)) return false;
    this.#queueVectors[queue] = this.#usableVector(value);
    return true;
  }

  /** A vector that there is, or else none: the driver reads it back (4.1.5.1.2.1). */
  #usableVector(value: number): number {
    return value < this.#msix.vectorCount ? value : NO_VECTOR;
  }

  #clear(): void {
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#queueSelect = 0;
    this.#isr = 0;
    this.#configVector = NO_VECTOR;
    this.#queueVectors.fill(NO_VECTOR);
  }
}
