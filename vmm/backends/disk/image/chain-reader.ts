import { type ChainRun, visitChain } from './chain-run.ts';
import type { DiskImage } from './image.ts';
import { InflatedClusters } from './inflated-clusters.ts';

/** Memory for reads under way. No driver asks for so much at once, but a hostile one may. */
const BYTES_MAX = 64 * 2 ** 20;

/** Reads what the data plane cannot: compressed clusters, and sectors that a file has in part. */
export class ChainReader {
  readonly #image: DiskImage;
  readonly #inflated = new InflatedClusters();
  #bytesUnderWay = 0;
  #waiting: (() => void)[] = [];

  constructor(image: DiskImage) {
    this.#image = image;
  }

  /** @throws TsvmError `invalid-disk`, `disk-io`; RangeError for more than 64 MiB */
  async read(offset: number, length: number): Promise<Uint8Array> {
    if (length > BYTES_MAX) throw new RangeError(`a read of ${length} bytes is too long`);
    while (this.#bytesUnderWay + length > BYTES_MAX) await this.#oneHasEnded();
    this.#bytesUnderWay += length;
    try {
      return await this.#read(offset, length);
    } finally {
      this.#bytesUnderWay -= length;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }

  /** The image, not one of its backing images, changes. */
  forget(): void {
    this.#inflated.forget(this.#image);
  }

  #oneHasEnded(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #read(offset: number, length: number): Promise<Uint8Array> {
    const data = new Uint8Array(length);
    const reads: Promise<void>[] = [];
    try {
      visitChain(this.#image, offset, offset + length, (run) => {
        const at = run.offset - offset;
        const part = data.subarray(at, at + run.length);
        if (run.kind === 'compressed') reads.push(this.#copyInflated(run, part));
        else if (run.kind === 'data') reads.push(run.layer.read(run.offset, part));
        return true;
      });
    } catch (error) {
      // Those that fail as well must not do so with nobody waiting for them.
      await Promise.allSettled(reads);
      throw error;
    }
    await Promise.all(reads);
    return data;
  }

  async #copyInflated({ layer, offset, length }: ChainRun, target: Uint8Array): Promise<void> {
    for (let at = offset; at < offset + length; ) {
      const into = at % layer.clusterBytes;
      const cluster = await this.#inflated.get(layer, at - into);
      const part = cluster.subarray(into, into + offset + length - at);
      target.set(part, at - offset);
      at += part.length;
    }
  }
}
