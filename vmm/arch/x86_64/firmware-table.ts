/** What the ACPI tables and the MP table have in common. */

/** OEM ids, padded with spaces to the widths of their fields. */
export const OEM_ID = 'TSVM  ';
export const OEM_TABLE_ID = 'TSVM    ';

/** The checksum byte, which makes the sum of all bytes 0 modulo 256. Its own field must be 0. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
