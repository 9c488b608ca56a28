/**
 * The MC146818 real-time clock and its CMOS RAM (Motorola MC146818A data sheet). The guest reads the
 * host's time in UTC; when it sets the clock, the difference is kept for as long as the device lives.
 *
 * There are no alarm, periodic or update interrupts: the chip has no interrupt line, and its ACPI
 * device lists none, so drivers do not expect any. Register B keeps its enable bits without effect.
 */
import type { BankSpec, RegisterBank, RegisterHandler } from '../../bus/register-bank.ts';
import { type DeviceState, StateReader } from '../device-state.ts';
import type { MachineDevice } from '../machine-device.ts';

/** Index port at offset 0, data port at 1. */
export const CMOS_BANK: BankSpec = { lengthBytes: 2, wordCount: 1 };

/** The register of the century, beyond the chip's own; the FADT names it. */
export const CMOS_CENTURY = 0x32;

const INDEX = 0;
const DATA = 1;
/** Bit 7 of the index masks the NMI on a PC and is not part of the register number. */
const INDEX_MASK = 0x7f;
const RAM_BYTES = 128;
/** The registers count to the year 25,755, which is 8.2e14 ms from now. */
const OFFSET_MS_MAX = 1e15;

const SECONDS = 0x00;
const MINUTES = 0x02;
const HOURS = 0x04;
const DAY_OF_WEEK = 0x06;
const DAY_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;

const TIME_REGISTERS: ReadonlySet<number> = new Set([
  SECONDS,
  MINUTES,
  HOURS,
  DAY_OF_WEEK,
  DAY_OF_MONTH,
  MONTH,
  YEAR,
  CMOS_CENTURY,
]);

/** Updates take no time here, so "update in progress" is never set. */
const A_UIP = 0x80;
/** 32.768 kHz time base and 1024 Hz, as set by PC firmware. */
const A_RESET = 0x26;
const B_SET = 0x80;
const B_BINARY = 0x04;
const B_24_HOURS = 0x02;
const HOURS_PM = 0x80;
/** Valid RAM and time: the battery is good. */
const D_VRT = 0x80;

const KIB = 2 ** 10;
const MIB = 2 ** 20;

export interface CmosRtcOptions {
  readonly bank: RegisterBank;
  /** The time in milliseconds since 1970, e.g. `Date.now`. */
  readonly now: () => number;
  /** End (exclusive) of the RAM below 4 GiB. */
  readonly lowMemoryEnd: number;
  /** Size in bytes of the RAM above 4 GiB. */
  readonly highMemoryBytes: number;
}

export class CmosRtc implements RegisterHandler, MachineDevice {
  readonly id = 'rtc';
  readonly #words: Uint32Array;
  readonly #now: () => number;
  readonly #ram = new Uint8Array(RAM_BYTES);
  /** Guest's time minus host's, in milliseconds. */
  #offsetMs = 0;

  constructor(options: CmosRtcOptions) {
    this.#words = options.bank.words;
    this.#now = options.now;
    this.#ram[REGISTER_A] = A_RESET;
    this.#ram[REGISTER_B] = B_24_HOURS;
    this.#ram[REGISTER_D] = D_VRT;
    this.#describeMemory(options.lowMemoryEnd, options.highMemoryBytes);
    options.bank.setFastRegisters([
      { offset: INDEX, width: 1, write: { kind: 'word', word: INDEX } },
    ]);
  }

  /** Nothing to stop: the time is computed when it is read. */
  quiesce(): void {}

  resume(): void {}

  /** The clock continues while a machine is saved: only its difference from the host's is kept. */
  save(): DeviceState {
    return {
      version: 1,
      index: Atomics.load(this.#words, INDEX),
      ram: this.#ram.slice(),
      offsetMs: this.#offsetMs,
    };
  }

  load(state: DeviceState): void {
    const reader = new StateReader(this.id, state, 1);
    const ram = reader.bytes('ram', RAM_BYTES, RAM_BYTES);
    const offsetMs = reader.signed('offsetMs', OFFSET_MS_MAX);
    Atomics.store(this.#words, INDEX, reader.number('index', 0xff));
    this.#ram.set(ram);
    this.#offsetMs = offsetMs;
  }

  async close(): Promise<void> {}

  /** The chip is 8 bits wide: a wide access is one access a byte. */
  read(offset: number, width: number): number {
    let value = 0;
    for (let i = 0; i < width; i++) {
      const byte = offset + i === DATA ? this.#readRegister(this.#index()) : 0xff;
      value |= byte << (8 * i);
    }
    return value >>> 0;
  }

  write(offset: number, width: number, value: number): void {
    for (let i = 0; i < width; i++) {
      const byte = (value >>> (8 * i)) & 0xff;
      if (offset + i === INDEX) Atomics.store(this.#words, INDEX, byte);
      else if (offset + i === DATA) this.#writeRegister(this.#index(), byte);
    }
  }

  #index(): number {
    return Atomics.load(this.#words, INDEX) & INDEX_MASK;
  }

  #readRegister(register: number): number {
    if (TIME_REGISTERS.has(register) && !this.#stopped()) this.#latchTime();
    return this.#ram[register] ?? 0xff;
  }

  #writeRegister(register: number, value: number): void {
    switch (register) {
      case REGISTER_A:
        this.#ram[register] = value & ~A_UIP;
        return;
      case REGISTER_B:
        this.#writeControl(value);
        return;
      case REGISTER_C:
      case REGISTER_D:
        return;
    }
    const sets = TIME_REGISTERS.has(register) && !this.#stopped();
    if (sets) this.#latchTime();
    this.#ram[register] = value;
    if (sets) this.#adoptTime();
  }

  /** While SET is 1 the guest may write the time registers; when it is cleared, the clock continues. */
  #writeControl(value: number): void {
    const wasStopped = this.#stopped();
    if (!wasStopped) this.#latchTime();
    this.#ram[REGISTER_B] = value;
    if (wasStopped && !this.#stopped()) this.#adoptTime();
  }

  #stopped(): boolean {
    return (this.#control() & B_SET) !== 0;
  }

  #control(): number {
    return this.#ram[REGISTER_B] ?? 0;
  }

  /** Updates the registers to the current time. */
  #latchTime(): void {
    const time = new Date(this.#now() + this.#offsetMs);
    const year = time.getUTCFullYear();
    this.#encode(SECONDS, time.getUTCSeconds());
    this.#encode(MINUTES, time.getUTCMinutes());
    this.#encodeHours(time.getUTCHours());
    this.#encode(DAY_OF_WEEK, time.getUTCDay() + 1);
    this.#encode(DAY_OF_MONTH, time.getUTCDate());
    this.#encode(MONTH, time.getUTCMonth() + 1);
    this.#encode(YEAR, year % 100);
    this.#encode(CMOS_CENTURY, Math.floor(year / 100));
  }

  /** Sets the clock to the registers' time. Any register values form a valid date. */
  #adoptTime(): void {
    const year = this.#decode(CMOS_CENTURY) * 100 + this.#decode(YEAR);
    const time = new Date(0);
    time.setUTCFullYear(year, this.#decode(MONTH) - 1, this.#decode(DAY_OF_MONTH));
    time.setUTCHours(this.#decodeHours(), this.#decode(MINUTES), this.#decode(SECONDS));
    this.#offsetMs = time.getTime() - this.#now();
  }

  #encode(register: number, value: number): void {
    const bcd = Math.floor(value / 10) * 16 + (value % 10);
    this.#ram[register] = this.#control() & B_BINARY ? value : bcd;
  }

  #decode(register: number): number {
    return this.#decodeByte(this.#ram[register] ?? 0);
  }

  #decodeByte(byte: number): number {
    return this.#control() & B_BINARY ? byte : (byte >> 4) * 10 + (byte & 0x0f);
  }

  #encodeHours(hours: number): void {
    if (this.#control() & B_24_HOURS) {
      this.#encode(HOURS, hours);
      return;
    }
    this.#encode(HOURS, hours % 12 || 12);
    if (hours >= 12) this.#ram[HOURS] = (this.#ram[HOURS] ?? 0) | HOURS_PM;
  }

  #decodeHours(): number {
    const byte = this.#ram[HOURS] ?? 0;
    if (this.#control() & B_24_HOURS) return this.#decodeByte(byte);
    const afternoon = byte & HOURS_PM ? 12 : 0;
    return (this.#decodeByte(byte & ~HOURS_PM) % 12) + afternoon;
  }

  /** Memory sizes as PC firmware stores them: in KiB up to 64 MiB, then in units of 64 KiB. */
  #describeMemory(lowEnd: number, highBytes: number): void {
    const units = (bytes: number, unit: number) =>
      Math.min(Math.max(Math.floor(bytes / unit), 0), 0xffff);
    this.#put16(0x15, 640);
    this.#put16(0x17, units(lowEnd - MIB, KIB));
    this.#put16(0x30, units(lowEnd - MIB, KIB));
    this.#put16(0x34, units(lowEnd - 16 * MIB, 64 * KIB));
    const high = Math.min(Math.floor(highBytes / (64 * KIB)), 0xffffff);
    this.#put16(0x5b, high & 0xffff);
    this.#ram[0x5d] = high >> 16;
  }

  #put16(register: number, value: number): void {
    this.#ram[register] = value & 0xff;
    this.#ram[register + 1] = value >> 8;
  }
}
