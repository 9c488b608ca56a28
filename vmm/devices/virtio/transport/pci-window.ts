import type { PciConfigSpace } from '../../pci/config-space.ts';
import { CapabilityType } from './pci-registers.ts';
import { structureCapability } from './pci-structure.ts';

/** Offsets in the capability: which BAR, where in it, how wide, and the data. */
const BAR = 4;
const OFFSET = 8;
const LENGTH = 12;
const DATA = 16;
const DATA_BYTES = 4;

/**
 * The capability by which firmware accesses BAR 0 before it is mapped: an access of its data field
 * accesses the place that its other fields name (virtio 1.2, section 4.1.4.9).
 */
export class PciWindow {
  readonly #config: PciConfigSpace;
  readonly #at: number;

  constructor(config: PciConfigSpace) {
    this.#config = config;
    const { identifier, content } = structureCapability(CapabilityType.PciConfig, 0, 0, 0);
    const writable = new Uint8Array(content.length);
    // Without the identifier and the link.
    writable[BAR - 2] = 0xff;
    writable.fill(0xff, OFFSET - 2);
    this.#at = config.addCapability(identifier, content, writable);
  }

  /** Before a driver reads the configuration space: fills the data field, if the read is of it. */
  beforeRead(offset: number, width: number, read: (at: number, bytes: number) => number): void {
    const target = this.#target(offset, width);
    if (target === undefined) return;
    this.#config.write(this.#at + DATA, DATA_BYTES, read(target.offset, target.bytes));
  }

  /** After a driver's write. */
  afterWrite(
    offset: number,
    width: number,
    write: (at: number, bytes: number, value: number) => void | Promise<void>,
  ): void | Promise<void> {
    const target = this.#target(offset, width);
    if (target === undefined) return undefined;
    const value = this.#config.read(this.#at + DATA, target.bytes);
    return write(target.offset, target.bytes, value);
  }

  /** What an access of the configuration space is about, if it is of the data field and legal. */
  #target(offset: number, width: number) {
    if (offset !== this.#at + DATA) return undefined;
    const bytes = this.#config.get32(this.#at + LENGTH);
    const at = this.#config.get32(this.#at + OFFSET);
    const isLegal = bytes === 1 || bytes === 2 || bytes === 4;
    if (this.#config.read(this.#at + BAR, 1) !== 0 || !isLegal || width < bytes) return undefined;
    return at % bytes === 0 ? { offset: at, bytes } : undefined;
  }
}
