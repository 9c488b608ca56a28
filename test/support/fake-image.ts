import type { FileRange } from '../../vmm/backends/disk/file/image-file.ts';
import type { ImageRun, RunKind } from '../../vmm/backends/disk/image/image.ts';
import type { MachineImage } from '../../vmm/backends/disk/machine/machine-image.ts';
import { MemoryImageFile } from './memory-image-file.ts';

/** One cluster of a {@link FakeImage}. */
interface FakeCluster {
  kind: RunKind;
  place: number;
  writable: boolean;
}

/**
 * An image without a format: the test defines each cluster. New clusters are allocated one after the
 * other.
 */
export class FakeImage implements MachineImage {
  readonly format = 'qcow2';
  readonly file = new MemoryImageFile();
  readonly readOnly = false;
  readonly clusterBytes: number;
  readonly sizeBytes: number;
  readonly backing: FakeImage | undefined;
  readonly clusters: FakeCluster[];
  /** A log of the calls, which other fakes may share. */
  readonly events: string[];
  readonly canReserve: boolean;
  metadataDirty = false;
  flushWanted = false;
  /** Error thrown by the next change or flush. */
  failure: Error | undefined;
  #nextPlace = 1;

  constructor(
    kinds: readonly RunKind[],
    options: {
      clusterBytes?: number;
      backing?: FakeImage;
      events?: string[];
      canReserve?: boolean;
    } = {},
  ) {
    const { clusterBytes = 4096, backing, events = [], canReserve = false } = options;
    this.canReserve = canReserve;
    this.clusterBytes = clusterBytes;
    this.backing = backing;
    this.events = events;
    this.sizeBytes = kinds.length * clusterBytes;
    this.clusters = kinds.map((kind) => ({ kind, place: this.#newPlace(), writable: true }));
    this.file.truncateSync(this.#nextPlace * clusterBytes);
  }

  mapSync(offset: number, length: number): ImageRun {
    const { clusterBytes } = this;
    const into = offset % clusterBytes;
    const { kind, place, writable } = this.#cluster(offset);
    const run = { kind, length: Math.min(length, clusterBytes - into) };
    if (kind === 'data') {
      return { ...run, file: this.file, fileOffset: place * clusterBytes + into, writable };
    }
    return { ...run, file: undefined, fileOffset: 0, writable: false };
  }

  prepareWriteSync(offset: number, length: number): void {
    this.#change(`prepare ${offset} ${length}`);
    for (let at = offset - (offset % this.clusterBytes); at < offset + length; ) {
      const cluster = this.#cluster(at);
      if (cluster.kind !== 'data' || !cluster.writable) cluster.place = this.#newPlace();
      cluster.kind = 'data';
      cluster.writable = true;
      at += this.clusterBytes;
    }
  }

  discardSync(offset: number, length: number): void {
    this.#change(`discard ${offset} ${length}`);
    for (let at = offset; at < offset + length; at += this.clusterBytes) {
      this.#cluster(at).kind = 'zero';
    }
  }

  writeZeroesSync(offset: number, length: number, mayUnmap: boolean): void {
    this.#change(`zero ${offset} ${length} ${mayUnmap}`);
  }

  reserveSync(clusters: number): FileRange {
    this.#change(`reserve ${clusters}`);
    const offset = this.#nextPlace * this.clusterBytes;
    this.#nextPlace += clusters;
    return { file: this.file, offset, length: clusters * this.clusterBytes };
  }

  releaseSync({ offset, length }: FileRange): void {
    this.events.push(`give back ${offset / this.clusterBytes}+${length / this.clusterBytes}`);
  }

  applyClaimSync(offset: number, length: number, fileOffset: number): void {
    const { clusterBytes } = this;
    this.#change(`claim ${offset / clusterBytes}+${length / clusterBytes}`);
    for (let into = 0; into < length; into += clusterBytes) {
      const place = (fileOffset + into) / clusterBytes;
      Object.assign(this.#cluster(offset + into), { kind: 'data', writable: true, place });
    }
  }

  readSync(): void {
    throw new Error('a disk reads asynchronously');
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.events.push(`read ${offset} ${target.length}`);
    await Promise.resolve();
    target.fill(1 + Math.floor(offset / this.clusterBytes));
  }

  writeSync(): void {
    throw new Error('a disk does not write by itself');
  }

  async write(): Promise<void> {
    this.writeSync();
  }

  resizeSync(): void {
    throw new Error('a disk keeps its size');
  }

  flushSync(): void {
    throw new Error('a disk does not wait for a flush');
  }

  async flush(): Promise<void> {
    this.events.push('flush');
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    this.metadataDirty = false;
    this.flushWanted = false;
  }

  close(): void {}

  #change(event: string): void {
    this.events.push(event);
    if (this.failure !== undefined) throw this.failure;
    this.metadataDirty = true;
  }

  #cluster(offset: number): FakeCluster {
    const cluster = this.clusters[Math.floor(offset / this.clusterBytes)];
    if (cluster === undefined) throw new Error(`${offset} is past the end`);
    return cluster;
  }

  #newPlace(): number {
    return this.#nextPlace++;
  }
}
