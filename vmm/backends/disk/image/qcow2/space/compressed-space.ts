import type { ImageMetadata } from '../image-metadata.ts';
import { compressedOffsetEnd } from '../map/l2-entry.ts';

/** Packs compressed clusters: each begins where the last one ended, as long as host clusters adjoin. */
export class CompressedSpace {
  readonly #metadata: ImageMetadata;
  /** The host offset at which the next one may begin; a multiple of the cluster size when none may. */
  #next = 0;

  constructor(metadata: ImageMetadata) {
    this.#metadata = metadata;
  }

  /**
   * Finds room for `length` bytes, less than a cluster. Every host cluster that they touch gets one
   * more reference.
   * @returns host offset, or `undefined` where the format cannot name what is free
   */
  allocate(length: number): number | undefined {
    const { allocator, geometry, refcounts } = this.#metadata;
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

  /** A cluster has become free: what is left of it is not ours any more. */
  forget(cluster: number): void {
    if (Math.floor(this.#next / this.#metadata.geometry.clusterBytes) === cluster) this.#next = 0;
  }

  #take(offset: number, length: number): number {
    this.#next = offset + length;
    return offset;
  }
}
