/**
 * The registers by which a guest's ACPI code (`arch/x86_64/acpi/pci-hotplug.ts`) learns which devices
 * were plugged in and which are to be removed, and by which it says that one may be taken away.
 */
import type { InterruptLine } from '../../bus/interrupt-line.ts';
import type { BankSpec, RegisterHandler } from '../../bus/register-bank.ts';
import { type DeviceState, StateReader } from '../device-state.ts';
import type { Counters, MachineDevice } from '../machine-device.ts';

export const PCI_HOTPLUG_BANK: BankSpec = { lengthBytes: 12, wordCount: 1 };

/** A bit a slot. The first two are cleared by a read. */
const ADDED = 0;
const LEAVING = 4;
const EJECT = 8;
const WIDTH = 4;
const BITS_MAX = 0xffff_ffff;

/**
 * A guest that is still booting does not listen yet, and loses the interrupt: it is sent again, at most
 * this often, until the registers were read.
 */
const REMIND_MS = 500;
const REMINDERS_MAX = 240;

export interface PciHotplugOptions {
  readonly interrupt: Pick<InterruptLine, 'pulse'>;
  /** The guest has let go of the device in this slot. A promise delays the guest's instruction. */
  readonly onEject: (slot: number) => void | Promise<void>;
}

export class PciHotplug implements MachineDevice, RegisterHandler {
  readonly id = 'pci-hotplug';
  readonly #interrupt: Pick<InterruptLine, 'pulse'>;
  readonly #onEject: (slot: number) => void | Promise<void>;
  #added = 0;
  #leaving = 0;
  #isQuiesced = true;
  #reminder: NodeJS.Timeout | undefined;
  #ejections = 0;
  #ignoredReads = 0;
  #ignoredWrites = 0;

  constructor({ interrupt, onEject }: PciHotplugOptions) {
    this.#interrupt = interrupt;
    this.#onEject = onEject;
  }

  /** Tells the guest of a new device. */
  announce(slot: number): void {
    this.#leaving = without(this.#leaving, slot);
    this.#added = withBit(this.#added, slot);
    this.#notify();
  }

  /** Asks the guest to let go of a device. */
  requestEjection(slot: number): void {
    this.#leaving = withBit(this.#leaving, slot);
    this.#notify();
  }

  /** Asks no more, and tells of nothing more: the slot is empty. */
  forget(slot: number): void {
    this.#added = without(this.#added, slot);
    this.#leaving = without(this.#leaving, slot);
  }

  read(offset: number, width: number): number {
    if (width === WIDTH && offset === ADDED) return this.#takeAdded();
    if (width === WIDTH && offset === LEAVING) return this.#takeLeaving();
    this.#ignoredReads += 1;
    return 0;
  }

  write(offset: number, width: number, value: number): void | Promise<void> {
    const bits = value >>> 0;
    const slot = 31 - Math.clz32(bits);
    if (offset !== EJECT || width !== WIDTH || bits !== withBit(0, slot)) {
      this.#ignoredWrites += 1;
      return undefined;
    }
    this.#ejections += 1;
    return this.#onEject(slot);
  }

  quiesce(): void {
    this.#isQuiesced = true;
    clearTimeout(this.#reminder);
  }

  resume(): void {
    this.#isQuiesced = false;
    this.#notify();
  }

  save(): DeviceState {
    return { version: 1, added: this.#added, leaving: this.#leaving };
  }

  load(state: DeviceState): void {
    const reader = new StateReader(this.id, state, 1);
    this.#added = reader.number('added', BITS_MAX);
    this.#leaving = reader.number('leaving', BITS_MAX);
  }

  async close(): Promise<void> {
    this.quiesce();
  }

  statistics(): Counters {
    return {
      ejections: this.#ejections,
      ignoredReads: this.#ignoredReads,
      ignoredWrites: this.#ignoredWrites,
    };
  }

  #takeAdded(): number {
    const bits = this.#added;
    this.#added = 0;
    return bits;
  }

  #takeLeaving(): number {
    const bits = this.#leaving;
    this.#leaving = 0;
    return bits;
  }

  #notify(remaining = REMINDERS_MAX): void {
    clearTimeout(this.#reminder);
    if (this.#isQuiesced || (this.#added | this.#leaving) === 0) return;
    this.#interrupt.pulse();
    if (remaining === 0) return;
    this.#reminder = setTimeout(() => this.#notify(remaining - 1), REMIND_MS);
    this.#reminder.unref();
  }
}

function withBit(bits: number, slot: number): number {
  return (bits | (1 << slot)) >>> 0;
}

function without(bits: number, slot: number): number {
  return (bits & ~(1 << slot)) >>> 0;
}
