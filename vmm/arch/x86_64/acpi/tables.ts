/** All ACPI tables of a machine, laid out from the RSDP on. */

import { checksum, OEM_ID } from '../firmware-table.ts';
import { RSDP_GPA } from '../layout.ts';
import { composeDsdt, type PciBusHardware, type VirtioMmioPlace } from './dsdt.ts';
import { composeFadt } from './fadt.ts';
import { composeMadt } from './madt.ts';
import { composeMcfg } from './mcfg.ts';
import { composeTable } from './table.ts';

/** The hardware that the tables describe. */
export interface AcpiHardware {
  /** Number of vCPUs, 1 to 255. */
  readonly cpus: number;
  readonly virtioMmio: readonly VirtioMmioPlace[];
  readonly pciBus?: PciBusHardware;
  /** SLP_TYP value of the soft-off state. */
  readonly sleepTypeS5: number;
  /** Index of the CMOS register that holds the century. */
  readonly rtcCenturyRegister: number;
}

export interface AcpiTables {
  /** Guest-physical address of `bytes`, which begin with the RSDP. */
  readonly rsdpGpa: number;
  readonly bytes: Uint8Array;
}

const RSDP_SIZE = 36;
/** Size of the ACPI 1.0 part, which has its own checksum. */
const RSDP_V1_SIZE = 20;
const RSDP_REVISION = 2;
const XSDT_REVISION = 1;
/** Bytes; a cache line. Only the RSDP must be aligned (to 16). */
const TABLE_ALIGNMENT = 64;

export function composeAcpiTables(hardware: AcpiHardware): AcpiTables {
  const blob = new TableBlob(RSDP_GPA, RSDP_SIZE);
  const dsdtGpa = blob.append(composeDsdt(hardware));
  const fadtGpa = blob.append(composeFadt(dsdtGpa, hardware.rtcCenturyRegister));
  const madtGpa = blob.append(composeMadt(hardware.cpus));
  const mcfgGpa = hardware.pciBus ? [blob.append(composeMcfg())] : [];
  const xsdtGpa = blob.append(composeXsdt([fadtGpa, madtGpa, ...mcfgGpa]));
  return { rsdpGpa: RSDP_GPA, bytes: blob.finish(composeRsdp(xsdtGpa)) };
}

/** Extended System Description Table: ACPI 6.5, section 5.2.8. */
function composeXsdt(tables: readonly number[]): Uint8Array {
  const body = Buffer.alloc(8 * tables.length);
  tables.forEach((gpa, index) => {
    body.writeBigUInt64LE(BigInt(gpa), 8 * index);
  });
  return composeTable('XSDT', XSDT_REVISION, body);
}

/** Root System Description Pointer: ACPI 6.5, section 5.2.5.3. */
function composeRsdp(xsdtGpa: number): Uint8Array {
  const rsdp = Buffer.alloc(RSDP_SIZE);
  rsdp.write('RSD PTR ', 0, 'ascii');
  rsdp.write(OEM_ID, 9, 'ascii');
  rsdp.writeUInt8(RSDP_REVISION, 15);
  rsdp.writeUInt32LE(RSDP_SIZE, 20);
  rsdp.writeBigUInt64LE(BigInt(xsdtGpa), 24);
  rsdp.writeUInt8(checksum(rsdp.subarray(0, RSDP_V1_SIZE)), 8);
  rsdp.writeUInt8(checksum(rsdp), 32);
  return rsdp;
}

/** A head, written last, followed by tables. */
class TableBlob {
  readonly #gpa: number;
  readonly #parts: { offset: number; bytes: Uint8Array }[] = [];
  #end: number;

  constructor(gpa: number, headSizeBytes: number) {
    this.#gpa = gpa;
    this.#end = headSizeBytes;
  }

  /** @returns the table's address */
  append(bytes: Uint8Array): number {
    const offset = Math.ceil(this.#end / TABLE_ALIGNMENT) * TABLE_ALIGNMENT;
    this.#parts.push({ offset, bytes });
    this.#end = offset + bytes.length;
    return this.#gpa + offset;
  }

  finish(head: Uint8Array): Uint8Array {
    const blob = new Uint8Array(this.#end);
    blob.set(head);
    for (const { offset, bytes } of this.#parts) blob.set(bytes, offset);
    return blob;
  }
}
