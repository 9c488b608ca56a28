/** What the ACPI tables and the MP table have in common. */

/** Who made them; padded with spaces to the fields' widths. */
export const OEM_ID = 'TSVM  ';
export const OEM_TABLE_ID = 'TSVM    ';

/** The byte that, put where a 0 is, makes the sum of all bytes 0 modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
