/** Accesses a PCI bus like a driver, by ECAM and the memory window. */
import type { PciRootBus } from '../../vmm/devices/pci/root-bus.ts';

export const WINDOW_GPA = 0xe100_0000;
const CAPABILITY_MSIX = 0x11;
const CAPABILITY_VENDOR = 0x09;
const CONTROL_ENABLE = 0x8000;

export class PciDriver {
  readonly #bus: PciRootBus;
  readonly #slot: number;

  constructor(bus: PciRootBus, slot: number) {
    this.#bus = bus;
    this.#slot = slot;
  }

  readConfig(register: number, width: number): number {
    return this.#bus.ecamHandler.read((this.#slot << 15) + register, width);
  }

  async writeConfig(register: number, width: number, value: number): Promise<void> {
    await this.#bus.ecamHandler.write((this.#slot << 15) + register, width, value);
  }

  /** The capabilities with this ID, found by following the list. */
  capabilities(identifier: number): number[] {
    const found: number[] = [];
    for (let at = this.readConfig(0x34, 1); at !== 0; at = this.readConfig(at + 1, 1)) {
      if (found.length > 48) throw new Error('the list of capabilities has no end');
      if (this.readConfig(at, 1) === identifier) found.push(at);
    }
    return found;
  }

  /** Offset and length in BAR 0 of a structure. */
  structure(type: number): { readonly offset: number; readonly length: number } {
    for (const at of this.capabilities(CAPABILITY_VENDOR)) {
      if (this.readConfig(at + 3, 1) !== type) continue;
      return { offset: this.readConfig(at + 8, 4), length: this.readConfig(at + 12, 4) };
    }
    throw new Error(`there is no structure ${type}`);
  }

  async enable(): Promise<void> {
    await this.writeConfig(4, 2, 6);
  }

  async enableMsix(): Promise<void> {
    const [at = 0] = this.capabilities(CAPABILITY_MSIX);
    await this.writeConfig(at + 2, 2, CONTROL_ENABLE);
  }

  get bar(): number {
    return this.readConfig(0x10, 4);
  }

  read(offset: number, width: number): number {
    return this.#bus.windowHandler.read(this.bar - WINDOW_GPA + offset, width);
  }

  async write(offset: number, width: number, value: number): Promise<void> {
    await this.#bus.windowHandler.write(this.bar - WINDOW_GPA + offset, width, value);
  }
}
