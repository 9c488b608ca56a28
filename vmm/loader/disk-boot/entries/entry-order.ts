import type { BootEntry } from './boot-entry.ts';
import { compareVersions } from './version-order.ts';

/** An entry with what its order depends on. */
export interface BlsEntry extends BootEntry {
  readonly sortKey: string;
  readonly machineId: string;
  readonly version: string;
  /** Boot attempts are counted, and none is left. */
  readonly isExhausted: boolean;
}

/** The specification's order, "Sorting": entries that could not be booted last, then newest first. */
export function compareBlsEntries(a: BlsEntry, b: BlsEntry): number {
  if (a.isExhausted !== b.isExhausted) return a.isExhausted ? 1 : -1;
  if ((a.sortKey === '') !== (b.sortKey === '')) return a.sortKey === '' ? 1 : -1;
  if (a.sortKey !== '') {
    const order =
      compareTexts(a.sortKey, b.sortKey) ||
      compareTexts(a.machineId, b.machineId) ||
      compareVersions(b.version, a.version);
    if (order !== 0) return order;
  }
  return compareVersions(b.id, a.id);
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
