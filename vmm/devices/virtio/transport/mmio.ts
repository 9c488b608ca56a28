/** The virtio-mmio transport, version 2 (virtio 1.2, section 4.2). It knows no device. */
import type { InterruptLine } from '../../../bus/interrupt-line.ts';
import type {
  BankSpec,
  FastRegister,
  RegisterBank,
  RegisterHandler,
} from '../../../bus/register-bank.ts';
import { type DeviceState, StateReader } from '../../device-state.ts';
import type { Counters, Gauges, MachineDevice } from '../../machine-device.ts';
import type { VirtioDevice } from '../device.ts';
import type { QueueAddressHalf } from '../queue.ts';
import { CommonConfig } from './common-config.ts';
import {
  MMIO_INTERRUPT_CONFIG_CHANGE,
  MMIO_INTERRUPT_USED_BUFFER,
  MMIO_MAGIC,
  MMIO_VENDOR_ID,
  MMIO_VERSION,
  MmioRegister,
} from './mmio-registers.ts';

/** A page, so that devices do not share one. */
export const MMIO_BANK: BankSpec = { lengthBytes: 0x1000, wordCount: 1 };
/** The word of InterruptStatus, in which the queue worker sets MMIO_INTERRUPT_USED_BUFFER. */
export const MMIO_INTERRUPT_STATUS_WORD = 0;

/**
 * What a window without a device reads: "a placeholder with no function" (virtio 1.2, section 4.2.2), with
 * device ID 0.
 */
export function readPlaceholder(offset: number, width: number): number {
  if (width !== 4) return 0;
  if (offset === MmioRegister.MagicValue) return MMIO_MAGIC;
  return offset === MmioRegister.Version ? MMIO_VERSION : 0;
}

/** The two registers used at interrupts. The others are used only while a driver starts. */
const FAST_REGISTERS: readonly FastRegister[] = [
  {
    offset: MmioRegister.InterruptStatus,
    width: 4,
    read: { word: MMIO_INTERRUPT_STATUS_WORD },
    write: { kind: 'ignore' },
  },
  {
    offset: MmioRegister.InterruptACK,
    width: 4,
    write: { kind: 'clear-bits', word: MMIO_INTERRUPT_STATUS_WORD },
  },
];

const QUEUE_ADDRESSES: ReadonlyMap<number, QueueAddressHalf> = new Map<number, QueueAddressHalf>([
  [MmioRegister.QueueDescLow, { part: 'descriptor', half: 'low' }],
  [MmioRegister.QueueDescHigh, { part: 'descriptor', half: 'high' }],
  [MmioRegister.QueueDriverLow, { part: 'available', half: 'low' }],
  [MmioRegister.QueueDriverHigh, { part: 'available', half: 'high' }],
  [MmioRegister.QueueDeviceLow, { part: 'used', half: 'low' }],
  [MmioRegister.QueueDeviceHigh, { part: 'used', half: 'high' }],
]);

export interface MmioTransportOptions {
  readonly device: VirtioDevice;
  /** Created with {@link MMIO_BANK}. */
  readonly bank: RegisterBank;
  readonly interrupt: InterruptLine;
  /** Reports a guest error, for the log. The callee limits the rate. */
  readonly onGuestError: (reason: string) => void;
}

/**
 * The slow registers of a device. Kicks do not get here: the machine registers an ioeventfd on
 * QueueNotify for each queue.
 */
export class MmioTransport implements RegisterHandler, MachineDevice {
  readonly id: string;
  readonly #device: VirtioDevice;
  readonly #bank: RegisterBank;
  readonly #interrupt: InterruptLine;
  readonly #common: CommonConfig;
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;
  /** Accesses that the specification forbids, or to offsets without a register. */
  #ignoredReads = 0;
  #ignoredWrites = 0;
  /** Writes to QueueNotify with a value that is not a queue index. */
  #strayNotifies = 0;

  constructor(options: MmioTransportOptions) {
    const { device, bank, interrupt } = options;
    this.id = device.id;
    this.#device = device;
    this.#bank = bank;
    this.#interrupt = interrupt;
    this.#common = new CommonConfig({
      device,
      notifyConfigChange: () => {
        Atomics.or(bank.words, MMIO_INTERRUPT_STATUS_WORD, MMIO_INTERRUPT_CONFIG_CHANGE);
        interrupt.pulse();
      },
      onReset: () => this.#clear(),
      onGuestError: (reason) => options.onGuestError(`${device.id}: ${reason}`),
    });
    bank.setFastRegisters(FAST_REGISTERS);
  }

  /** Resets the device, as its driver can. A promise resolves when it no longer accesses the guest. */
  reset(): void | Promise<void> {
    return this.#common.reset();
  }

  quiesce(): Promise<void> {
    return this.#common.quiesce();
  }

  resume(): void {
    this.#common.resume();
    // The saved state does not include an edge that was being delivered.
    if (Atomics.load(this.#bank.words, MMIO_INTERRUPT_STATUS_WORD) !== 0) this.#interrupt.pulse();
  }

  save(): DeviceState {
    return {
      version: 1,
      deviceFeaturesSel: this.#deviceFeaturesSel,
      driverFeaturesSel: this.#driverFeaturesSel,
      queueSel: this.#queueSel,
      interruptStatus: Atomics.load(this.#bank.words, MMIO_INTERRUPT_STATUS_WORD),
      common: this.#common.save(),
    };
  }

  load(state: DeviceState): void {
    const reader = new StateReader(this.id, state, 1);
    const word = (name: string) => reader.number(name, 0xffff_ffff);
    this.#deviceFeaturesSel = word('deviceFeaturesSel');
    this.#driverFeaturesSel = word('driverFeaturesSel');
    this.#queueSel = word('queueSel');
    const interrupts = MMIO_INTERRUPT_USED_BUFFER | MMIO_INTERRUPT_CONFIG_CHANGE;
    const status = reader.number('interruptStatus', interrupts);
    this.#common.load(reader.part('common'));
    Atomics.store(this.#bank.words, MMIO_INTERRUPT_STATUS_WORD, status);
  }

  async close(): Promise<void> {
    await this.reset();
  }

  statistics(): Counters {
    return {
      ...this.#device.statistics(),
      ignoredReads: this.#ignoredReads,
      ignoredWrites: this.#ignoredWrites,
      strayNotifies: this.#strayNotifies,
    };
  }

  queueStatistics(): readonly Counters[] {
    return this.#device.queueStatistics?.() ?? [];
  }

  gauges(): Gauges {
    return this.#device.gauges?.() ?? {};
  }

  /** Offsets without a readable register read 0. */
  read(offset: number, width: number): number {
    const value =
      offset >= MmioRegister.Config
        ? this.#device.config.read(offset - MmioRegister.Config, width)
        : this.#readRegister(offset, width);
    if (value === undefined) this.#ignoredReads += 1;
    return value ?? 0;
  }

  write(offset: number, width: number, value: number): void | Promise<void> {
    if (offset === MmioRegister.Status && width === 4 && value === 0) return this.reset();
    const done =
      offset >= MmioRegister.Config
        ? this.#writeConfig(offset - MmioRegister.Config, width, value)
        : this.#writeRegister(offset, width, value);
    if (done instanceof Promise) return done;
    if (!done) this.#ignoredWrites += 1;
    return undefined;
  }

  #readRegister(offset: number, width: number): number | undefined {
    // "The driver MUST only use 32 bit wide and aligned reads and writes" (4.2.2.2).
    if (width !== 4) return undefined;
    switch (offset) {
      case MmioRegister.MagicValue:
        return MMIO_MAGIC;
      case MmioRegister.Version:
        return MMIO_VERSION;
      case MmioRegister.DeviceID:
        return this.#device.deviceId;
      case MmioRegister.VendorID:
        return MMIO_VENDOR_ID;
      case MmioRegister.DeviceFeatures:
        return this.#common.deviceFeatures(this.#deviceFeaturesSel);
      case MmioRegister.QueueNumMax:
        return this.#common.queueSizeMax(this.#queueSel);
      case MmioRegister.QueueReady:
        return this.#common.queueReady(this.#queueSel) ? 1 : 0;
      case MmioRegister.Status:
        return this.#common.status;
      case MmioRegister.SHMLenLow:
      case MmioRegister.SHMLenHigh:
      case MmioRegister.SHMBaseLow:
      case MmioRegister.SHMBaseHigh:
        // No device has a shared memory region: length and address read -1.
        return 0xffffffff;
      case MmioRegister.ConfigGeneration:
        return this.#device.config.generation;
      default:
        // Including QueueReset: VIRTIO_F_RING_RESET is not offered.
        return undefined;
    }
  }

  /** @returns whether the write was legal, or a promise if it was and is not yet complete */
  #writeRegister(offset: number, width: number, value: number): boolean | Promise<void> {
    if (width !== 4) return false;
    switch (offset) {
      case MmioRegister.DeviceFeaturesSel:
        this.#deviceFeaturesSel = value;
        return true;
      case MmioRegister.DriverFeaturesSel:
        this.#driverFeaturesSel = value;
        return true;
      case MmioRegister.DriverFeatures:
        return this.#common.setDriverFeatures(this.#driverFeaturesSel, value);
      case MmioRegister.QueueSel:
        this.#queueSel = value;
        return true;
      case MmioRegister.QueueReady:
        return this.#common.setQueueReady(this.#queueSel, value === 1);
      case MmioRegister.QueueNotify:
        this.#strayNotifies += 1;
        return true;
      case MmioRegister.Status:
        return this.#common.setStatus(value);
      case MmioRegister.SHMSel:
        return true;
      case MmioRegister.QueueNum:
        return this.#common.setQueueSize(this.#queueSel, value);
      default:
        return this.#setQueueAddress(offset, value);
    }
  }

  #setQueueAddress(offset: number, value: number): boolean {
    const address = QUEUE_ADDRESSES.get(offset);
    return address !== undefined && this.#common.setQueueAddress(this.#queueSel, address, value);
  }

  #writeConfig(offset: number, width: number, value: number): boolean {
    if (this.#device.writeConfig === undefined) return false;
    this.#device.writeConfig(offset, width, value);
    return true;
  }

  /** "Upon reset, the device MUST clear all bits in InterruptStatus" (4.2.2.1). */
  #clear(): void {
    Atomics.store(this.#bank.words, MMIO_INTERRUPT_STATUS_WORD, 0);
    this.#deviceFeaturesSel = 0;
    this.#driverFeaturesSel = 0;
    this.#queueSel = 0;
  }
}
