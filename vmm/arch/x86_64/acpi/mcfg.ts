/** Where the configuration spaces of PCI Express are: PCI Firmware 3.3, section 4.1.2. */
import { PCI_ECAM_GPA } from '../layout.ts';
import { composeTable } from './table.ts';

const MCFG_REVISION = 1;
const RESERVED_BYTES = 8;
const ALLOCATION_BYTES = 16;

/** One bus, number 0 of segment 0. */
export function composeMcfg(): Uint8Array {
  const body = Buffer.alloc(RESERVED_BYTES + ALLOCATION_BYTES);
  body.writeBigUInt64LE(BigInt(PCI_ECAM_GPA), RESERVED_BYTES);
  return composeTable('MCFG', MCFG_REVISION, body);
}
