import type { Geometry } from '../header/geometry.ts';
import { LOW_OFFSET_MASK, LOW_ZERO } from '../header/layout.ts';
import { compressedSpan, EntryKind, entryKind, hostOffset, isCopied } from '../map/l2-entry.ts';
import type { CheckReport } from './check-report.ts';
import type { CheckedImage } from './checked-image.ts';

/** "Standard Cluster Descriptor": bits that are reserved. */
export const L2_HIGH_RESERVED_MASK = 0x3f00_0000;
export const L2_LOW_RESERVED_MASK = 0x1fe;

/** Findings that a repair handles. */
export interface L2Findings {
  /** Number of entries with reserved bits set, or with space at an impossible place. */
  repairableEntries: number;
  copiedMismatches: number;
}

/** Counts a range of the file as referred to. */
export type AddReferences = (
  offset: number,
  length: number,
  times: number,
  what: () => string,
) => void;

/** Visits L2 tables for a check. */
export class L2Walk {
  readonly #image: CheckedImage;
  readonly #geometry: Geometry;
  readonly #report: CheckReport;
  readonly #findings: L2Findings;
  readonly #add: AddReferences;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Created once: a closure for each entry would take longer than everything else. */
  readonly #cluster = (): string => `${this.#where}: its cluster`;
  #tableOffset = 0;
  #entry = 0;

  constructor(image: CheckedImage, findings: L2Findings, add: AddReferences) {
    this.#image = image;
    this.#geometry = image.geometry;
    this.#report = image.report;
    this.#findings = findings;
    this.#add = add;
    this.#bytes = new Uint8Array(image.geometry.clusterBytes);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /**
   * @param offset place of the table; past the file's end it reads as zeroes
   * @param active number of entries of the active L1 table that refer to it
   * @param inactive number of entries of snapshots' L1 tables that do
   */
  table(offset: number, active: number, inactive: number): void {
    const { clusterBytes, extendedL2, l2EntryBytes } = this.#geometry;
    const view = this.#view;
    this.#image.file.readSync(offset, this.#bytes);
    this.#tableOffset = offset;
    let expected = 0;
    for (let at = 0; at < clusterBytes; at += l2EntryBytes) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      const zeroBits = extendedL2 ? view.getUint32(at + 8) : 0;
      const allocatedBits = extendedL2 ? view.getUint32(at + 12) : 0;
      if ((high | low | allocatedBits) === 0) continue;
      const times = active + inactive;
      this.#entry = at / l2EntryBytes;
      const kind = entryKind(high, low, this.#geometry);
      if (kind === EntryKind.COMPRESSED) {
        this.#compressed(high, low, (zeroBits | allocatedBits) !== 0, times);
        if (!this.#geometry.externalData && (zeroBits | allocatedBits) === 0) {
          this.#report.allocatedClusters += active;
          this.#report.compressedClusters += active;
          // Compressed data shorter than a sector is never at a valid place.
          this.#report.fragmentedClusters += active;
        }
        continue;
      }
      if ((high & L2_HIGH_RESERVED_MASK) !== 0 || (low & L2_LOW_RESERVED_MASK) !== 0) {
        this.#report.corruption(`${this.#where} has reserved bits set`, times);
        this.#findings.repairableEntries++;
      }
      if (kind === EntryKind.UNALLOCATED && allocatedBits !== 0) {
        this.#report.corruption(`${this.#where} has sub-clusters, and no cluster`, times);
      }
      if (kind !== EntryKind.STANDARD && kind !== EntryKind.ZERO_ALLOCATED) continue;
      if ((zeroBits & allocatedBits) !== 0) {
        this.#report.corruption(`${this.#where} has sub-clusters both allocated and zero`, times);
      }
      const host = hostOffset(high, low);
      // The first cluster of an external data file while it is zero: not counted.
      if (kind === EntryKind.ZERO_ALLOCATED && host === 0) continue;
      this.#report.allocatedClusters += active;
      if (expected !== 0 && host !== expected) this.#report.fragmentedClusters += active;
      expected = host + clusterBytes;
      this.#standard(host, low, isPreallocated(low, allocatedBits, extendedL2), times);
      // For the flags, an L1 entry without an offset does not count.
      if (active > 0 && offset !== 0) this.#checkCopied(high, host, active);
    }
  }

  get #where(): string {
    return `the L2 table at ${this.#tableOffset}: entry ${this.#entry}`;
  }

  #compressed(high: number, low: number, hasSubclusters: boolean, times: number): void {
    if (isCopied(high)) {
      this.#report.corruption(`${this.#where} is compressed, and has the flag COPIED`, times);
      this.#findings.repairableEntries++;
    }
    if (this.#geometry.externalData) {
      this.#report.corruption(`${this.#where} is compressed, with an external data file`, times);
      return;
    }
    if (hasSubclusters) {
      this.#report.corruption(`${this.#where} is compressed, and has sub-clusters`, times);
      return;
    }
    const span = compressedSpan(high, low, this.#geometry);
    this.#add(span.offset, span.length, times, this.#cluster);
  }

  #standard(host: number, low: number, preallocated: boolean, times: number): void {
    if ((low & LOW_OFFSET_MASK & (this.#geometry.clusterBytes - 1)) !== 0) {
      this.#report.corruption(`${this.#where} points to ${host}, not aligned to a cluster`, times);
      if (preallocated) this.#findings.repairableEntries++;
    }
    if (!this.#geometry.externalData) {
      this.#add(host, this.#geometry.clusterBytes, times, this.#cluster);
    }
  }

  #checkCopied(high: number, host: number, active: number): void {
    const { externalData, clusterBytes } = this.#geometry;
    const refcount = externalData ? 1 : this.#image.stored.get(Math.floor(host / clusterBytes));
    if (refcount === undefined || (refcount === 1) === isCopied(high)) return;
    this.#report.corruption(
      `${this.#where} ${isCopied(high) ? 'has' : 'lacks'} the flag COPIED, and the refcount is ${refcount}`,
      active,
    );
    this.#findings.copiedMismatches++;
  }
}

/** True when a standard entry's host cluster has no readable content. */
export function isPreallocated(low: number, allocatedBits: number, extendedL2: boolean): boolean {
  return extendedL2 ? allocatedBits === 0 : (low & LOW_ZERO) !== 0;
}
