import type { StateReader, StateValue } from '../device-state.ts';

/** Size in bytes of the part that is not extended (PCI 3.0, section 6.1). The extended one reads 0. */
export const CONFIG_SPACE_BYTES = 256;

/** Offsets in the header of type 0: PCI 3.0, section 6.1. */
export const PciRegister = {
  VendorId: 0x00,
  DeviceId: 0x02,
  Command: 0x04,
  Status: 0x06,
  RevisionId: 0x08,
  /** Programming interface, subclass and class, a byte each. */
  ClassCode: 0x09,
  CacheLineSize: 0x0c,
  Bar0: 0x10,
  SubsystemVendorId: 0x2c,
  SubsystemId: 0x2e,
  CapabilitiesPointer: 0x34,
  InterruptLine: 0x3c,
} as const;

export const COMMAND_MEMORY = 1 << 1;
const COMMAND_BUS_MASTER = 1 << 2;
const COMMAND_INTERRUPT_DISABLE = 1 << 10;
const STATUS_CAPABILITIES = 1 << 4;

const FIRST_CAPABILITY = 0x40;
/** Bits of a memory BAR that hold its type, not the address. */
const BAR_TYPE_BITS = 0xf;

export interface PciIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  /** Class, subclass and programming interface, a byte each, from the highest. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
}

/**
 * The configuration space of a function: read-only bytes, and bits that a driver may write. There is
 * no interrupt pin, because interrupts are messages.
 */
export class PciConfigSpace {
  readonly #view = new DataView(new ArrayBuffer(CONFIG_SPACE_BYTES));
  readonly #writable = new DataView(new ArrayBuffer(CONFIG_SPACE_BYTES));
  #lastCapability = 0;
  #end = FIRST_CAPABILITY;

  constructor(identity: PciIdentity) {
    const { vendorId, deviceId, classCode, subsystemVendorId = 0, subsystemId = 0 } = identity;
    const view = this.#view;
    view.setUint16(PciRegister.VendorId, vendorId, true);
    view.setUint16(PciRegister.DeviceId, deviceId, true);
    view.setUint8(PciRegister.RevisionId, 1);
    view.setUint8(PciRegister.ClassCode, classCode & 0xff);
    view.setUint16(PciRegister.ClassCode + 1, classCode >> 8, true);
    view.setUint16(PciRegister.SubsystemVendorId, subsystemVendorId, true);
    view.setUint16(PciRegister.SubsystemId, subsystemId, true);
    const command = COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_INTERRUPT_DISABLE;
    this.#writable.setUint16(PciRegister.Command, command, true);
    this.#writable.setUint8(PciRegister.CacheLineSize, 0xff);
    this.#writable.setUint8(PciRegister.InterruptLine, 0xff);
  }

  /** Makes BAR 0 a memory window below 4 GiB. `sizeBytes` is a power of two, and `gpa` a multiple. */
  setBar0(gpa: number, sizeBytes: number): void {
    this.#view.setUint32(PciRegister.Bar0, gpa, true);
    // A driver learns the size by writing ones and reading back which of them stayed.
    this.#writable.setUint32(PciRegister.Bar0, -sizeBytes >>> 0, true);
  }

  /** Where BAR 0 is; undefined while it is not decoded. */
  get bar0(): number | undefined {
    if ((this.get16(PciRegister.Command) & COMMAND_MEMORY) === 0) return undefined;
    return (this.#view.getUint32(PciRegister.Bar0, true) & ~BAR_TYPE_BITS) >>> 0;
  }

  /**
   * Adds a capability at the end of the list.
   * @param content what follows its identifier and link
   * @param writable the bits of `content` that a driver may write
   * @returns the capability's offset
   */
  addCapability(identifier: number, content: Uint8Array, writable?: Uint8Array): number {
    const at = this.#end;
    const bytes = new Uint8Array(this.#view.buffer);
    bytes.set([identifier, 0, ...content], at);
    if (writable !== undefined) new Uint8Array(this.#writable.buffer).set(writable, at + 2);
    const status = this.get16(PciRegister.Status) | STATUS_CAPABILITIES;
    this.#view.setUint16(PciRegister.Status, status, true);
    const link =
      this.#lastCapability === 0 ? PciRegister.CapabilitiesPointer : this.#lastCapability + 1;
    bytes[link] = at;
    this.#lastCapability = at;
    this.#end = Math.ceil((at + 2 + content.length) / 4) * 4;
    return at;
  }

  get16(offset: number): number {
    return this.#view.getUint16(offset, true);
  }

  get32(offset: number): number {
    return this.#view.getUint32(offset, true);
  }

  /** Whether an access is one that the bus can carry: of 1, 2 or 4 bytes, aligned. */
  static isLegal(offset: number, width: number): boolean {
    return (width === 1 || width === 2 || width === 4) && offset % width === 0;
  }

  /** A legal read. */
  read(offset: number, width: number): number {
    if (offset + width > CONFIG_SPACE_BYTES) return 0;
    if (width === 1) return this.#view.getUint8(offset);
    return width === 2 ? this.get16(offset) : this.get32(offset);
  }

  /** A legal write. Read-only bits keep their value. */
  write(offset: number, width: number, value: number): void {
    for (let byte = offset; byte < offset + width && byte < CONFIG_SPACE_BYTES; byte++) {
      const mask = this.#writable.getUint8(byte);
      const written = (value >>> (8 * (byte - offset))) & mask;
      this.#view.setUint8(byte, (this.#view.getUint8(byte) & ~mask) | written);
    }
  }

  save(): StateValue {
    return { bytes: new Uint8Array(this.#view.buffer).slice() };
  }

  /** Takes over the bits that a driver may write. */
  load(state: StateReader): void {
    const bytes = state.bytes('bytes', CONFIG_SPACE_BYTES, CONFIG_SPACE_BYTES);
    for (const [offset, value] of bytes.entries()) this.write(offset, 1, value);
  }
}
