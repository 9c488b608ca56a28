import type { Geometry } from '../header/geometry.ts';
import { compressedOffsetEnd } from '../map/l2-entry.ts';
import type { Allocator } from './allocator.ts';
import type { Refcounts } from './refcounts.ts';

/** Packs compressed clusters: each begins where the last one ended while host clusters adjoin. */
export class CompressedSpace {
  readonly #allocator: Allocator;
  readonly #geometry: Geometry;
  readonly #refcounts: Refcounts;
  /** Host offset where the next one may begin; a multiple of the cluster size when it may not. */
  #next = 0;

  constructor(allocator: Allocator, geometry: Geometry, refcounts: Refcounts) {
    this.#allocator = allocator;
    this.#geometry = geometry;
    this.#refcounts = refcounts;
  }

  /**
   * Finds room for `length` bytes, less than a cluster. Every host cluster that they touch gets one
   * more reference.
   * @returns host offset, or `undefined` where the format cannot address free space
   */
  allocate(length: number): number | undefined {
    const allocator = this.#allocator;
    const geometry = this.#geometry;
    const refcounts = this.#refcounts;
    const { clusterBytes } = geometry;
    const current = Math.floor(this.#next / clusterBytes);
    const room = (clusterBytes - (this.#next % clusterBytes)) % clusterBytes;
    const shareable = room > 0 && refcounts.get(current) < refcounts.max;
    if (shareable && length <= room) {
      refcounts.add(current, 1);
      return this.#take(this.#next, length);
    }
    const run = allocator.allocate(1);
    const offset = run.first * clusterBytes;
    if (offset + clusterBytes > compressedOffsetEnd(geometry)) {
      allocator.giveBack(run);
      return undefined;
    }
    if (!shareable || run.first !== current + 1) return this.#take(offset, length);
    refcounts.add(current, 1);
    return this.#take(this.#next, length);
  }

  /** A cluster has become free: the rest of it must not be used any more. */
  noteFreed(cluster: number): void {
    if (Math.floor(this.#next / this.#geometry.clusterBytes) === cluster) this.#next = 0;
  }

  #take(offset: number, length: number): number {
    this.#next = offset + length;
    return offset;
  }
}
