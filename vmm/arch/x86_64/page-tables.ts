/** Long-mode page tables: Intel SDM volume 3, section 4.5. */
import { PAGE_SIZE, PAGE_TABLES_SIZE } from './layout.ts';

const PRESENT = 1n << 0n;
const WRITABLE = 1n << 1n;
/** Accessed and dirty are set, so that page walks need not write them. */
const ACCESSED = 1n << 5n;
const DIRTY = 1n << 6n;
const LARGE = 1n << 7n;

const ENTRIES = 512;
const GIBIBYTES = 4;
const LARGE_PAGE_SIZE = 2n ** 21n;

/**
 * An identity map of the first 4 GiB with 2 MiB pages, which every x86-64 CPU supports: PML4, page
 * directory pointer table, four page directories.
 * @param gpa page-aligned guest-physical address of the tables, the value of CR3
 */
export function composeIdentityMap(gpa: number): Uint8Array {
  const bytes = new Uint8Array(PAGE_TABLES_SIZE);
  const view = new DataView(bytes.buffer);
  const pointers = PAGE_SIZE;
  const directories = 2 * PAGE_SIZE;
  const setTable = (offset: number, table: number): void => {
    view.setBigUint64(offset, BigInt(gpa + table) | PRESENT | WRITABLE | ACCESSED, true);
  };
  setTable(0, pointers);
  for (let i = 0; i < GIBIBYTES; i++) setTable(pointers + i * 8, directories + i * PAGE_SIZE);
  for (let i = 0; i < GIBIBYTES * ENTRIES; i++) {
    const page = BigInt(i) * LARGE_PAGE_SIZE;
    const entry = page | PRESENT | WRITABLE | ACCESSED | DIRTY | LARGE;
    view.setBigUint64(directories + i * 8, entry, true);
  }
  return bytes;
}
