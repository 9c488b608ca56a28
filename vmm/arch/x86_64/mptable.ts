/**
 * The MP floating pointer and configuration table (Intel MultiProcessor Specification 1.4, section
 * 4), in which a kernel without ACPI finds its CPUs and the IO-APIC.
 */

import { checksum, OEM_ID } from './firmware-table.ts';
import { IOAPIC_GPA, IOAPIC_PINS, LAPIC_GPA, MP_TABLE_GPA } from './layout.ts';

export interface MpTable {
  /** Guest-physical address of `bytes`: the floating pointer, then the table. */
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

const SPEC_REVISION = 4; // 1.4
const PARAGRAPH = 16;
const POINTER_SIZE = 16;
const HEADER_SIZE = 44;

/* Entry types, section 4.3. */
const PROCESSOR = 0;
const BUS = 1;
const IO_APIC = 2;
const IO_INTERRUPT = 3;
const LOCAL_INTERRUPT = 4;

const PROCESSOR_ENABLED = 1 << 0;
const PROCESSOR_BOOT = 1 << 1;
/** A generic family 6 processor with FPU and APIC; kernels use CPUID instead. */
const CPU_SIGNATURE = 0x600;
const CPU_FEATURES_FPU_APIC = (1 << 0) | (1 << 9);

/** Versions of KVM's APICs. */
const LAPIC_VERSION = 0x14;
const IOAPIC_VERSION = 0x11;

const ISA_BUS = 0;
const ALL_LOCAL_APICS = 0xff;
const INTERRUPT_INT = 0;
const INTERRUPT_NMI = 1;
const INTERRUPT_EXTINT = 3;
/** Active high, edge-triggered; stated explicitly instead of "conforms to the bus". */
const ACTIVE_HIGH_EDGE = 0x01 | (0x01 << 2);
const CONFORMING = 0;

/** @param cpus number of vCPUs, 1 to 32, with APIC ids from 0; the IO-APIC gets the next id */
export function composeMpTable(cpus: number): MpTable {
  const ioApicId = cpus;
  const entries = [
    ...Array.from({ length: cpus }, (_, id) => processor(id)),
    isaBus(),
    ioApic(ioApicId),
    // KVM connects each interrupt line to the IO-APIC pin with the same number.
    ...Array.from({ length: IOAPIC_PINS }, (_, pin) =>
      interrupt(IO_INTERRUPT, INTERRUPT_INT, ACTIVE_HIGH_EDGE, pin, ioApicId, pin),
    ),
    interrupt(LOCAL_INTERRUPT, INTERRUPT_EXTINT, CONFORMING, 0, 0, 0),
    interrupt(LOCAL_INTERRUPT, INTERRUPT_NMI, CONFORMING, 0, ALL_LOCAL_APICS, 1),
  ];
  const table = configurationTable(entries);
  return {
    gpa: MP_TABLE_GPA,
    bytes: Buffer.concat([floatingPointer(MP_TABLE_GPA + POINTER_SIZE), table]),
  };
}

function floatingPointer(tableGpa: number): Uint8Array {
  const pointer = Buffer.alloc(POINTER_SIZE);
  pointer.write('_MP_', 0, 'ascii');
  pointer.writeUInt32LE(tableGpa, 4);
  pointer.writeUInt8(POINTER_SIZE / PARAGRAPH, 8);
  pointer.writeUInt8(SPEC_REVISION, 9);
  pointer.writeUInt8(checksum(pointer), 10);
  return pointer;
}

function configurationTable(entries: readonly Uint8Array[]): Uint8Array {
  const table = Buffer.concat([Buffer.alloc(HEADER_SIZE), ...entries]);
  table.write('PCMP', 0, 'ascii');
  table.writeUInt16LE(table.length, 4);
  table.writeUInt8(SPEC_REVISION, 6);
  table.write(OEM_ID.padEnd(8), 8, 'ascii');
  table.write('TSVM'.padEnd(12), 16, 'ascii'); // product
  table.writeUInt16LE(entries.length, 34);
  table.writeUInt32LE(LAPIC_GPA, 36);
  table.writeUInt8(checksum(table), 7);
  return table;
}

function processor(apicId: number): Uint8Array {
  const entry = Buffer.alloc(20);
  const flags = PROCESSOR_ENABLED | (apicId === 0 ? PROCESSOR_BOOT : 0);
  entry.set([PROCESSOR, apicId, LAPIC_VERSION, flags]);
  entry.writeUInt32LE(CPU_SIGNATURE, 4);
  entry.writeUInt32LE(CPU_FEATURES_FPU_APIC, 8);
  return entry;
}

function isaBus(): Uint8Array {
  return Buffer.concat([Uint8Array.of(BUS, ISA_BUS), Buffer.from('ISA   ', 'ascii')]);
}

function ioApic(id: number): Uint8Array {
  const enabled = 1;
  const entry = Buffer.alloc(8);
  entry.set([IO_APIC, id, IOAPIC_VERSION, enabled]);
  entry.writeUInt32LE(IOAPIC_GPA, 4);
  return entry;
}

/** An interrupt assignment entry: an ISA IRQ and the APIC input that it is wired to. */
function interrupt(
  entryType: number,
  interruptType: number,
  flags: number,
  isaIrq: number,
  apicId: number,
  input: number,
): Uint8Array {
  return Uint8Array.of(entryType, interruptType, flags, 0, ISA_BUS, isaIrq, apicId, input);
}
