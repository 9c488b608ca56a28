/** What all ACPI tables share: ACPI 6.5, section 5.2.6. */
import { checksum, OEM_ID, OEM_TABLE_ID } from '../firmware-table.ts';

export const TABLE_HEADER_SIZE = 36;

/** Generic Address Structure, section 5.2.3.2. */
export const GENERIC_ADDRESS_SIZE = 12;
const SYSTEM_IO = 1;
const BYTE_ACCESS = 1;

/** A complete table: header with checksum, then `body`. */
export function composeTable(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const table = Buffer.alloc(TABLE_HEADER_SIZE + body.length);
  table.write(signature, 0, 4, 'ascii');
  table.writeUInt32LE(table.length, 4);
  table.writeUInt8(revision, 8);
  table.write(OEM_ID, 10, 6, 'ascii');
  table.write(OEM_TABLE_ID, 16, 8, 'ascii');
  table.writeUInt32LE(1, 24); // OEM revision
  table.write('TSVM', 28, 4, 'ascii'); // creator
  table.writeUInt32LE(1, 32);
  table.set(body, TABLE_HEADER_SIZE);
  table.writeUInt8(checksum(table), 9);
  return table;
}

/** A byte-wide register at an I/O port. */
export function ioRegister(port: number): Uint8Array {
  const address = Buffer.alloc(GENERIC_ADDRESS_SIZE);
  address.set([SYSTEM_IO, 8, 0, BYTE_ACCESS]);
  address.writeUInt32LE(port, 4);
  return address;
}
