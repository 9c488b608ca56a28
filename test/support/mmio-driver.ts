/**
 * The guest's side of the virtio-mmio transport: the register accesses that Linux's
 * `drivers/virtio/virtio_mmio.c` makes. Offsets and bits come from `linux/virtio_mmio.h` and
 * `linux/virtio_config.h`, not from the code under test.
 */
import assert from 'node:assert/strict';

export const REG = {
  MAGIC_VALUE: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SEL: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SEL: 0x024,
  QUEUE_SEL: 0x030,
  QUEUE_NUM_MAX: 0x034,
  QUEUE_NUM: 0x038,
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACK: 0x064,
  STATUS: 0x070,
  QUEUE_DESC_LOW: 0x080,
  QUEUE_DESC_HIGH: 0x084,
  QUEUE_AVAIL_LOW: 0x090,
  QUEUE_AVAIL_HIGH: 0x094,
  QUEUE_USED_LOW: 0x0a0,
  QUEUE_USED_HIGH: 0x0a4,
  SHM_SEL: 0x0ac,
  SHM_LEN_LOW: 0x0b0,
  SHM_LEN_HIGH: 0x0b4,
  SHM_BASE_LOW: 0x0b8,
  SHM_BASE_HIGH: 0x0bc,
  QUEUE_RESET: 0x0c0,
  CONFIG_GENERATION: 0x0fc,
  CONFIG: 0x100,
} as const;

export const S_ACKNOWLEDGE = 1;
export const S_DRIVER = 2;
export const S_DRIVER_OK = 4;
export const S_FEATURES_OK = 8;
export const S_NEEDS_RESET = 0x40;
export const S_FAILED = 0x80;

export const INT_VRING = 1;
export const INT_CONFIG = 2;

/** The destination of a driver's accesses, such as `FakeRegisterBank`. */
export interface GuestBus {
  guestRead(offset: number, width?: number): number;
  guestWrite(offset: number, value: number, width?: number): void | Promise<void>;
}

export interface RingAddresses {
  readonly size: number;
  readonly descriptorGpa: number | bigint;
  readonly availableGpa: number | bigint;
  readonly usedGpa: number | bigint;
}

export class MmioDriver {
  readonly bus: GuestBus;

  constructor(bus: GuestBus) {
    this.bus = bus;
  }

  read(offset: number): number {
    return this.bus.guestRead(offset, 4);
  }

  write(offset: number, value: number): void | Promise<void> {
    return this.bus.guestWrite(offset, value, 4);
  }

  get status(): number {
    return this.read(REG.STATUS);
  }

  /** Sets bits as Linux does, by writing back what was read. */
  addStatus(bits: number): void | Promise<void> {
    return this.write(REG.STATUS, this.status | bits);
  }

  deviceFeatures(): bigint {
    this.write(REG.DEVICE_FEATURES_SEL, 1);
    const high = BigInt(this.read(REG.DEVICE_FEATURES));
    this.write(REG.DEVICE_FEATURES_SEL, 0);
    return (high << 32n) | BigInt(this.read(REG.DEVICE_FEATURES));
  }

  setDriverFeatures(features: bigint): void {
    this.write(REG.DRIVER_FEATURES_SEL, 1);
    this.write(REG.DRIVER_FEATURES, Number(features >> 32n));
    this.write(REG.DRIVER_FEATURES_SEL, 0);
    this.write(REG.DRIVER_FEATURES, Number(features & 0xffffffffn));
  }

  /**
   * Initializes the device up to FEATURES_OK. `wanted` limits the features. @returns whether the device
   * has accepted them
   */
  async negotiate(wanted = ~0n): Promise<boolean> {
    assert.equal(this.read(REG.MAGIC_VALUE), 0x74726976);
    assert.equal(this.read(REG.VERSION), 2);
    await this.write(REG.STATUS, 0);
    assert.equal(this.status, 0);
    this.addStatus(S_ACKNOWLEDGE);
    this.addStatus(S_DRIVER);
    this.setDriverFeatures(this.deviceFeatures() & wanted);
    this.addStatus(S_FEATURES_OK);
    return (this.status & S_FEATURES_OK) !== 0;
  }

  setUpQueue(index: number, ring: RingAddresses): void {
    this.write(REG.QUEUE_SEL, index);
    assert.equal(this.read(REG.QUEUE_READY), 0);
    assert.ok(this.read(REG.QUEUE_NUM_MAX) > 0, `queue ${index} exists`);
    this.write(REG.QUEUE_NUM, ring.size);
    this.#writeAddress(REG.QUEUE_DESC_LOW, ring.descriptorGpa);
    this.#writeAddress(REG.QUEUE_AVAIL_LOW, ring.availableGpa);
    this.#writeAddress(REG.QUEUE_USED_LOW, ring.usedGpa);
    this.write(REG.QUEUE_READY, 1);
  }

  driverOk(): void {
    this.addStatus(S_DRIVER_OK);
  }

  #writeAddress(low: number, gpa: number | bigint): void {
    this.write(low, Number(BigInt(gpa) & 0xffff_ffffn));
    this.write(low + 4, Number(BigInt(gpa) >> 32n));
  }
}
