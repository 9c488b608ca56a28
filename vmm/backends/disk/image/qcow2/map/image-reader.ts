import { TsvmError } from '../../../../../errors.ts';
import type { DiskImage } from '../../image.ts';
import type { ImageMetadata } from '../image-metadata.ts';
import { inflateCluster, inflateClusterSync } from './compression.ts';
import { type InflatedBudget, InflatedClusters } from './inflated-clusters.ts';
import { type CompressedSpan, compressedSpan } from './l2-entry.ts';
import { mapRun } from './mapping.ts';

/** Reads an image through its chain. Past the end of a layer everything reads as zeroes. */
export class ImageReader {
  readonly #metadata: ImageMetadata;
  readonly #backing: DiskImage | undefined;
  readonly #inflated: InflatedClusters;

  constructor(metadata: ImageMetadata, backing: DiskImage | undefined, inflated: InflatedBudget) {
    this.#metadata = metadata;
    this.#backing = backing;
    this.#inflated = new InflatedClusters(metadata.geometry.clusterBytes, inflated);
  }

  get #sizeBytes(): number {
    return this.#metadata.header.current.sizeBytes;
  }

  /** Host clusters have become free and may soon hold something else. */
  clearInflated(): void {
    this.#inflated.clear();
  }

  readSync(offset: number, target: Uint8Array): void {
    const inside = this.#clip(offset, target);
    for (let done = 0; done < inside; ) {
      const at = offset + done;
      const run = mapRun(this.#metadata, at, inside - done);
      const part = target.subarray(done, done + run.length);
      done += run.length;
      if (run.kind === 'data') run.file?.readSync(run.fileOffset, part);
      else if (run.kind === 'compressed') this.#copyInflated(at, part, this.#inflateSync(at));
      else if (run.kind === 'zero' || this.#backing === undefined) part.fill(0);
      else {
        const backed = clipTo(this.#backing, at, part);
        if (backed.length > 0) this.#backing.readSync(at, backed);
      }
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    await allDone(this.#reads(offset, target));
  }

  *#reads(offset: number, target: Uint8Array): Generator<Promise<void>> {
    const inside = this.#clip(offset, target);
    for (let done = 0; done < inside; ) {
      const at = offset + done;
      const run = mapRun(this.#metadata, at, inside - done);
      const part = target.subarray(done, done + run.length);
      done += run.length;
      if (run.kind === 'data' && run.file !== undefined) {
        yield run.file.read(run.fileOffset, part);
      } else if (run.kind === 'compressed') {
        yield this.#readCompressed(at, part);
      } else if (run.kind === 'zero' || this.#backing === undefined) {
        part.fill(0);
      } else {
        const backed = clipTo(this.#backing, at, part);
        if (backed.length > 0) yield this.#backing.read(at, backed);
      }
    }
  }

  /** True when metadata alone shows that the range reads as zeroes. */
  readsAsZero(offset: number, length: number): boolean {
    const end = Math.min(offset + length, this.#sizeBytes);
    for (let at = offset; at < end; ) {
      const run = mapRun(this.#metadata, at, end - at);
      if (run.kind === 'data' || run.kind === 'compressed') return false;
      if (run.kind === 'unallocated' && !backingReadsAsZero(this.#backing, at, run.length)) {
        return false;
      }
      at += run.length;
    }
    return true;
  }

  /** How many bytes the image has; the rest of the target is zeroed. */
  #clip(offset: number, target: Uint8Array): number {
    const inside = Math.max(0, Math.min(target.length, this.#sizeBytes - offset));
    if (inside < target.length) target.fill(0, inside);
    return inside;
  }

  #copyInflated(at: number, part: Uint8Array, plain: Uint8Array): void {
    const into = at % this.#metadata.geometry.clusterBytes;
    part.set(plain.subarray(into, into + part.length));
  }

  async #readCompressed(at: number, part: Uint8Array): Promise<void> {
    const span = this.#span(at);
    const plain = await this.#inflated.get(span.offset, async () => {
      const { file, geometry, header } = this.#metadata;
      const deflated = new Uint8Array(span.length);
      await file.read(span.offset, deflated);
      const kind = header.current.compressionType;
      return await inflateCluster(kind, deflated, geometry.clusterBytes);
    });
    this.#copyInflated(at, part, plain);
  }

  #inflateSync(at: number): Uint8Array {
    const span = this.#span(at);
    return this.#inflated.getSync(span.offset, () => {
      const { file, geometry, header } = this.#metadata;
      const deflated = new Uint8Array(span.length);
      file.readSync(span.offset, deflated);
      const kind = header.current.compressionType;
      return inflateClusterSync(kind, deflated, geometry.clusterBytes);
    });
  }

  /** The place of the compressed cluster at a guest offset. */
  #span(at: number): CompressedSpan {
    const { allocator, file, geometry, l2 } = this.#metadata;
    const l1Index = Math.floor(at / geometry.tableSpanBytes);
    const index = Math.floor((at % geometry.tableSpanBytes) / geometry.clusterBytes);
    const view = l2.get(l1Index)?.view;
    const entryAt = index * geometry.l2EntryBytes;
    const high = view?.getUint32(entryAt) ?? 0;
    const span = compressedSpan(high, view?.getUint32(entryAt + 4) ?? 0, geometry);
    if (
      geometry.externalData ||
      span.offset < geometry.clusterBytes ||
      span.offset >= allocator.endOffset
    ) {
      throw new TsvmError(
        'invalid-disk',
        `${file.path}: entry ${index} of L2 table ${l1Index} points to ${span.offset}, where no ` +
          'compressed cluster can be',
      );
    }
    return span;
  }
}

/** The part of `target` that a layer has; the rest is zeroed. */
function clipTo(layer: DiskImage, offset: number, target: Uint8Array): Uint8Array {
  const inside = Math.max(0, Math.min(target.length, layer.sizeBytes - offset));
  if (inside < target.length) target.fill(0, inside);
  return target.subarray(0, inside);
}

function backingReadsAsZero(layer: DiskImage | undefined, offset: number, length: number): boolean {
  if (layer === undefined) return true;
  const end = Math.min(offset + length, layer.sizeBytes);
  for (let at = offset; at < end; ) {
    const run = layer.mapSync(at, end - at);
    if (run.kind === 'data' || run.kind === 'compressed') return false;
    if (run.kind === 'unallocated' && !backingReadsAsZero(layer.backing, at, run.length)) {
      return false;
    }
    at += run.length;
  }
  return true;
}

/**
 * Starts operations one after the other and waits for all, even when one fails or cannot be started:
 * afterwards nothing accesses the caller's memory.
 */
export async function allDone(operations: Iterable<Promise<void>>): Promise<void> {
  const started: Promise<void>[] = [];
  try {
    for (const operation of operations) started.push(operation);
  } catch (error) {
    await Promise.allSettled(started);
    throw error;
  }
  if (started.length === 1) return started[0];
  const results = await Promise.allSettled(started);
  for (const result of results) {
    if (result.status === 'rejected') throw result.reason;
  }
}
