import type { DiskImage } from './image.ts';

/** What is kept, unless a single cluster is larger. */
const KEPT_BYTES = 4 * 2 ** 20;
const KEPT_CLUSTERS = 64;

interface InflatedCluster {
  readonly layer: DiskImage;
  readonly offset: number;
  readonly bytes: Promise<Uint8Array>;
}

/**
 * The compressed clusters that were read last, inflated: a guest that reads one from its beginning
 * to its end in small pieces has it inflated once.
 */
export class InflatedClusters {
  /** The one used last comes last. */
  #clusters: InflatedCluster[] = [];

  /** The content of the compressed cluster of `layer` that begins at `offset`. */
  get(layer: DiskImage, offset: number): Promise<Uint8Array> {
    const known = this.#clusters.find((it) => it.layer === layer && it.offset === offset);
    const cluster = known ?? { layer, offset, bytes: readCluster(layer, offset) };
    this.#clusters = this.#clusters.filter((it) => it !== known);
    this.#clusters.push(cluster);
    const most = Math.max(1, Math.min(KEPT_CLUSTERS, KEPT_BYTES / layer.clusterBytes));
    if (this.#clusters.length > most) this.#clusters = this.#clusters.slice(-most);
    // What failed is tried again the next time.
    cluster.bytes.catch(() => {
      this.#clusters = this.#clusters.filter((it) => it !== cluster);
    });
    return cluster.bytes;
  }

  /** The layer changes: what is kept of it may be of no use. */
  forget(layer: DiskImage): void {
    if (this.#clusters.length === 0) return;
    this.#clusters = this.#clusters.filter((cluster) => cluster.layer !== layer);
  }
}

async function readCluster(layer: DiskImage, offset: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.min(layer.clusterBytes, layer.sizeBytes - offset));
  await layer.read(offset, bytes);
  return bytes;
}
