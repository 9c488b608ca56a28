/**
 * The root bus of a PCI Express hierarchy: bus 0 of segment 0, with up to 31 functions besides its host
 * bridge. Configuration accesses come by ECAM (PCI Express 5.0, section 7.2.2) or by ports (PCI 3.0,
 * section 3.2.2.3.2), accesses of the functions' memory by one window.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { type DeviceState, StateReader } from '../device-state.ts';
import type { Counters, MachineDevice } from '../machine-device.ts';
import { PciConfigSpace } from './config-space.ts';

/** A function of a device on the bus; every device has one. */
export interface PciFunction {
  readonly config: PciConfigSpace;
  readonly barBytes: number;
  /** Called after a driver's write to the configuration space. */
  configWritten?(offset: number, width: number): void | Promise<void>;
  /** Called before a driver's read of the configuration space. */
  configRead?(offset: number, width: number): void;
  readBar(offset: number, width: number): number;
  writeBar(offset: number, width: number, value: number): void | Promise<void>;
}

/** Bytes of ECAM of one function, and of one bus: 32 devices of 8 functions. */
const FUNCTION_SHIFT = 12;
export const ECAM_BANK: BankSpec = { lengthBytes: 256 << FUNCTION_SHIFT, wordCount: 1 };
/** CONFIG_ADDRESS and CONFIG_DATA, four ports each. */
export const CONFIG_PORTS_BANK: BankSpec = { lengthBytes: 8, wordCount: 1 };

export const PCI_SLOTS = 32;
const CONFIG_ADDRESS = 0;
const CONFIG_DATA = 4;
/** The bank's word with CONFIG_ADDRESS. */
const ADDRESS_WORD = 0;
const ADDRESS_ENABLE = 0x8000_0000;

/** That of QEMU's host bridge for PCI Express, which has no registers of its own either. */
const HOST_BRIDGE = { vendorId: 0x1b36, deviceId: 0x0008, classCode: 0x06_0000 };

function allOnes(width: number): number {
  return width >= 4 ? 0xffff_ffff : 2 ** (8 * width) - 1;
}

interface MemoryRange {
  readonly gpa: number;
  readonly sizeBytes: number;
}

export class PciRootBus implements MachineDevice {
  readonly id = 'pci';
  readonly #functions: (PciFunction | undefined)[] = new Array(PCI_SLOTS);
  /** Where BARs were of devices that were pulled out. */
  readonly #remains: (MemoryRange | undefined)[] = new Array(PCI_SLOTS);
  readonly #hostBridge = new PciConfigSpace(HOST_BRIDGE);
  readonly #windowGpa: number;
  readonly #portsBank: RegisterBank;
  /** Accesses to addresses where there is no function. */
  #straySelects = 0;
  #strayAccesses = 0;

  /**
   * @param windowGpa where the window for the functions' memory begins
   * @param portsBank of the ports, {@link CONFIG_PORTS_BANK}
   */
  constructor(windowGpa: number, portsBank: RegisterBank) {
    this.#windowGpa = windowGpa;
    this.#portsBank = portsBank;
    // Every second access of a kernel that looks for devices.
    portsBank.setFastRegisters([
      {
        offset: CONFIG_ADDRESS,
        width: 4,
        read: { word: ADDRESS_WORD },
        write: { kind: 'word', word: ADDRESS_WORD },
      },
    ]);
    this.#functions[0] = {
      config: this.#hostBridge,
      barBytes: 0,
      readBar: (_offset, width) => allOnes(width),
      writeBar: () => {},
    };
  }

  /** @param slot 1 to 31, the number of a device on the bus */
  attach(slot: number, device: PciFunction): void {
    this.#functions[slot] = device;
  }

  /** Empties a slot: nothing is found there, and the BAR's addresses lead nowhere. */
  detach(slot: number): void {
    this.#functions[slot] = undefined;
    this.#remains[slot] = undefined;
  }

  /**
   * As {@link detach}, of a device whose driver did not let go of it: until then, the BAR's addresses
   * read 0. Drivers of virtio wait for a status of 0, which is that of a device after a reset.
   */
  pullOut(slot: number): void {
    const device = this.#functions[slot];
    const gpa = device?.config.bar0;
    this.detach(slot);
    if (device === undefined || gpa === undefined) return;
    this.#remains[slot] = { gpa, sizeBytes: device.barBytes };
  }

  readonly ecamHandler: RegisterHandler = {
    read: (offset, width) => this.#readConfig(offset, width),
    write: (offset, width, value) => this.#writeConfig(offset, width, value),
  };

  readonly portsHandler: RegisterHandler = {
    read: (offset, width) => {
      if (offset < CONFIG_DATA) return width === 4 ? this.#address : allOnes(width);
      const target = this.#portTarget(offset);
      return target === undefined ? allOnes(width) : this.#readConfig(target, width);
    },
    write: (offset, width, value) => {
      if (offset >= CONFIG_DATA) {
        const target = this.#portTarget(offset);
        return target === undefined ? undefined : this.#writeConfig(target, width, value);
      }
      // Accesses of other widths are for other chips.
      if (offset === CONFIG_ADDRESS && width === 4) this.#address = value;
      return undefined;
    },
  };

  readonly windowHandler: RegisterHandler = {
    read: (offset, width) => {
      const target = this.#barTarget(offset, width);
      if (target !== undefined) return target.device.readBar(target.offset, width);
      return this.#isRemains(offset) ? 0 : allOnes(width);
    },
    write: (offset, width, value) => {
      const target = this.#barTarget(offset, width);
      return target?.device.writeBar(target.offset, width, value);
    },
  };

  get #address(): number {
    return Atomics.load(this.#portsBank.words, ADDRESS_WORD);
  }

  set #address(value: number) {
    Atomics.store(this.#portsBank.words, ADDRESS_WORD, value);
  }

  quiesce(): void {}

  resume(): void {}

  save(): DeviceState {
    return { version: 1, address: this.#address, hostBridge: this.#hostBridge.save() };
  }

  load(state: DeviceState): void {
    const reader = new StateReader(this.id, state, 1);
    this.#address = reader.number('address', 0xffff_ffff);
    this.#hostBridge.load(reader.part('hostBridge'));
  }

  async close(): Promise<void> {}

  statistics(): Counters {
    return { straySelects: this.#straySelects, strayAccesses: this.#strayAccesses };
  }

  /** The place in ECAM that the ports select. They reach the first bus and no extended registers. */
  #portTarget(offset: number): number | undefined {
    const address = this.#address;
    if ((address & ADDRESS_ENABLE) === 0 || (address & 0x00ff_0000) !== 0) return undefined;
    const device = (address >>> 8) & 0xff;
    return (device << FUNCTION_SHIFT) + (address & 0xfc) + (offset - CONFIG_DATA);
  }

  /** @param offset in ECAM */
  #function(offset: number): PciFunction | undefined {
    const device = offset >>> FUNCTION_SHIFT;
    const found = (device & 7) === 0 ? this.#functions[device >>> 3] : undefined;
    if (found === undefined) this.#straySelects += 1;
    return found;
  }

  #readConfig(offset: number, width: number): number {
    const register = offset & 0xfff;
    const device = this.#function(offset);
    if (device === undefined || !PciConfigSpace.isLegal(register, width)) return allOnes(width);
    device.configRead?.(register, width);
    return device.config.read(register, width);
  }

  #writeConfig(offset: number, width: number, value: number): void | Promise<void> {
    const register = offset & 0xfff;
    const device = this.#function(offset);
    if (device === undefined || !PciConfigSpace.isLegal(register, width)) return undefined;
    device.config.write(register, width, value);
    return device.configWritten?.(register, width);
  }

  #isRemains(offset: number): boolean {
    const gpa = this.#windowGpa + offset;
    return this.#remains.some((each) => each && gpa >= each.gpa && gpa < each.gpa + each.sizeBytes);
  }

  /** The function whose BAR has these bytes. Of overlapping ones, that of the lowest slot. */
  #barTarget(
    offset: number,
    width: number,
  ): { readonly device: PciFunction; readonly offset: number } | undefined {
    const gpa = this.#windowGpa + offset;
    for (const device of this.#functions) {
      const bar = device?.config.bar0;
      if (device === undefined || bar === undefined || gpa < bar) continue;
      if (gpa + width <= bar + device.barBytes) return { device, offset: gpa - bar };
    }
    this.#strayAccesses += 1;
    return undefined;
  }
}
