/**
 * Multiple APIC Description Table: ACPI 6.5, section 5.2.12.
 *
 * No interrupt source override is needed: KVM connects each ISA IRQ, including the timer's, to the
 * IO-APIC pin with the same number, and ISA IRQs default to edge-triggered, active high.
 */
import { IOAPIC_GPA, LAPIC_GPA } from '../layout.ts';
import { composeTable } from './table.ts';

const MADT_REVISION = 5;

const PROCESSOR_LOCAL_APIC = 0;
const IO_APIC = 1;
const LOCAL_APIC_NMI = 4;

const PROCESSOR_ENABLED = 1;
const ALL_PROCESSORS = 0xff;

/** Reset value of the id register of KVM's IO-APIC. */
const IOAPIC_ID = 0;

/** @param cpus number of vCPUs, 1 to 255; their APIC ids are 0, 1, ... */
export function composeMadt(cpus: number): Uint8Array {
  const header = Buffer.alloc(8); // flags 0 (no PCAT_COMPAT): there is no dual 8259 to disable
  header.writeUInt32LE(LAPIC_GPA, 0);
  const processors = Array.from({ length: cpus }, (_, id) =>
    Uint8Array.of(PROCESSOR_LOCAL_APIC, 8, id, id, PROCESSOR_ENABLED, 0, 0, 0),
  );
  const ioApic = Buffer.alloc(12); // GSI base 0
  ioApic.set([IO_APIC, 12, IOAPIC_ID]);
  ioApic.writeUInt32LE(IOAPIC_GPA, 4);
  const nmi = Uint8Array.of(LOCAL_APIC_NMI, 6, ALL_PROCESSORS, 0, 0, 1); // on LINT1
  return composeTable('APIC', MADT_REVISION, Buffer.concat([header, ...processors, ioApic, nmi]));
}
