import { MetadataTable } from '../tables/metadata-table.ts';
import { hostOffset, isCopied, lowWord, ownedHigh } from './l2-entry.ts';

export const L1_ENTRY_BYTES = 8;

/** The active L1 table, completely in memory. */
export class L1Table extends MetadataTable {
  get entries(): number {
    return this.bytes.byteLength / L1_ENTRY_BYTES;
  }

  /** Host offset of the L2 table that an entry refers to, 0 if there is none; not checked. */
  l2Offset(index: number): number {
    const at = index * L1_ENTRY_BYTES;
    return hostOffset(this.view.getUint32(at), this.view.getUint32(at + 4));
  }

  /** True when no other L1 table has the entry's L2 table. */
  isOwned(index: number): boolean {
    return isCopied(this.view.getUint32(index * L1_ENTRY_BYTES));
  }

  setOwned(index: number, l2Offset: number): void {
    this.#set(index, ownedHigh(l2Offset), lowWord(l2Offset));
  }

  clear(index: number): void {
    this.#set(index, 0, 0);
  }

  #set(index: number, high: number, low: number): void {
    const at = index * L1_ENTRY_BYTES;
    this.view.setUint32(at, high);
    this.view.setUint32(at + 4, low);
    this.markDirty(at, L1_ENTRY_BYTES);
  }
}
