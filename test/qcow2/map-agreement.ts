/** Compares `qemu-img map` with our map of an image and its chain. */
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { Qcow2Image } from '../../vmm/backends/disk/image/qcow2/qcow2-image.ts';
import type { QemuMapEntry } from '../support/qemu-img.ts';
import { Mismatch } from './mismatch.ts';

/** The common description of a range. Adjoining equal ranges are joined. */
interface Mapped {
  readonly start: number;
  length: number;
  /**
   * `place`: in a file. QEMU calls it zero if the file has a hole there, so zero is not compared.
   */
  readonly kind: 'place' | 'compressed' | 'zero' | 'hole';
  /** For `place`: the layer, 0 for the image itself, and the offset in the layer's file. */
  readonly depth: number;
  readonly offset: number;
}

/** @throws Mismatch at the first range that differs */
export function expectSameMap(image: DiskImage, qemuMap: readonly QemuMapEntry[]): void {
  const ours = ourMap(image);
  const theirs = theirMap(image, qemuMap);
  for (let index = 0; index < Math.max(ours.length, theirs.length); index++) {
    const [our, their] = [JSON.stringify(ours[index]), JSON.stringify(theirs[index])];
    if (our !== their) throw new Mismatch(`our map has ${our}, qemu-img map has ${their}`);
  }
}

function ourMap(image: DiskImage): Mapped[] {
  const mapped: Mapped[] = [];
  for (let start = 0; start < image.sizeBytes; ) {
    const next = ourRun(image, start, image.sizeBytes - start);
    add(mapped, next);
    start += next.length;
  }
  return mapped;
}

/** Follows a range to the layer that determines its first part. */
function ourRun(image: DiskImage, start: number, most: number): Mapped {
  let length = most;
  let layer: DiskImage | undefined = image;
  for (let depth = 0; layer !== undefined && start < layer.sizeBytes; depth++) {
    const run = layer.mapSync(start, Math.min(length, layer.sizeBytes - start));
    length = run.length;
    if (run.kind !== 'unallocated') {
      const untilCluster1 = layer.clusterBytes - run.fileOffset;
      if (run.kind === 'zero' && untilCluster1 > 0 && hasPlainZeroAtStart(layer)) {
        length = Math.min(length, untilCluster1);
        return { start, length, kind: 'zero', depth: 0, offset: 0 };
      }
      if (run.file !== undefined && run.kind !== 'compressed') {
        return { start, length, kind: 'place', depth, offset: run.fileOffset };
      }
      const kind = run.kind === 'compressed' ? 'compressed' : 'zero';
      return { start, length, kind, depth: 0, offset: 0 };
    }
    layer = layer.backing;
  }
  return { start, length, kind: holeKind(image), depth: 0, offset: 0 };
}

/**
 * At offset 0 of an external data file, QEMU takes an allocated zero cluster for an unallocated
 * one, except with sub-clusters.
 */
function hasPlainZeroAtStart(layer: DiskImage): boolean {
  if (!(layer instanceof Qcow2Image)) return false;
  return layer.header.externalDataFile && !layer.header.extendedL2;
}

/**
 * With a backing image, QEMU has no clear rule to tell zeroes that no layer has from zero clusters.
 */
function holeKind({ backing }: DiskImage): 'hole' | 'zero' {
  return backing === undefined ? 'hole' : 'zero';
}

function theirMap(image: DiskImage, entries: readonly QemuMapEntry[]): Mapped[] {
  const sizes: number[] = [];
  for (let layer: DiskImage | undefined = image; layer !== undefined; layer = layer.backing) {
    sizes.push(layer.sizeBytes);
  }
  const mapped: Mapped[] = [];
  for (const entry of entries) {
    const { start, length, depth, offset, zero, present } = entry;
    // Past the end of a layer there are zeroes, which QEMU attributes to that layer.
    const inside = Math.max(0, Math.min(length, (sizes[depth] ?? 0) - start));
    const nowhere = { depth: 0, offset: 0 };
    // Unwritten sub-clusters have a place too, if their cluster has.
    if (offset !== undefined && present && inside > 0) {
      add(mapped, { start, length: inside, kind: 'place', depth, offset });
      if (inside === length) continue;
      const rest = { start: start + inside, length: length - inside };
      add(mapped, { ...rest, kind: 'zero', ...nowhere });
      continue;
    }
    const zeroKind = present ? 'zero' : holeKind(image);
    add(mapped, { start, length, kind: zero ? zeroKind : 'compressed', ...nowhere });
  }
  return mapped;
}

function add(mapped: Mapped[], next: Mapped): void {
  const last = mapped.at(-1);
  const goesOn =
    last !== undefined &&
    last.kind === next.kind &&
    last.depth === next.depth &&
    (last.kind !== 'place' || last.offset + last.length === next.offset);
  if (goesOn) last.length += next.length;
  else mapped.push({ ...next });
}
