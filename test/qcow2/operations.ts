/** Operations on an image, and streams of them from a seed. */
import type { Random } from '../support/random.ts';
import type { DiskModel } from './disk-model.ts';
import type { ImageOptions, ImageRecipe } from './image-recipe.ts';

export interface Range {
  readonly offset: number;
  readonly length: number;
}

export interface PatternWrite extends Range {
  /** The index of the pattern to write. */
  readonly pattern: number;
}

export type Operation =
  | ({ readonly kind: 'read' } & Range)
  /** `prepared`: the range is made writable in place first. */
  | ({ readonly kind: 'write'; readonly how: 'sync' | 'async' | 'prepared' } & PatternWrite)
  /** Concurrent writes of different clusters. */
  | { readonly kind: 'burst'; readonly writes: readonly PatternWrite[] }
  /** Whole clusters, each compressed. */
  | ({ readonly kind: 'compressed' } & PatternWrite)
  | ({ readonly kind: 'zeroes'; readonly mayUnmap: boolean } & Range)
  | ({ readonly kind: 'discard' } & Range)
  | { readonly kind: 'flush'; readonly how: 'sync' | 'async' }
  | {
      readonly kind: 'create-snapshot' | 'apply-snapshot' | 'delete-snapshot';
      readonly name: string;
    }
  | { readonly kind: 'resize'; readonly sizeBytes: number }
  /** `swap`: each engine continues with the other's file. */
  | { readonly kind: 'reopen'; readonly swap: boolean };

const WEIGHTS = {
  read: 16,
  write: 34,
  burst: 6,
  compressed: 7,
  zeroes: 10,
  discard: 10,
  flush: 7,
  'create-snapshot': 4,
  'apply-snapshot': 3,
  'delete-snapshot': 2,
  resize: 3,
  reopen: 4,
} as const satisfies Record<Operation['kind'], number>;

/** Initial content of an image: clusters of every kind. */
const PREFILL_WEIGHTS = { write: 4, compressed: 3, zeroes: 2, discard: 1 } as const;

export const PATTERNS = 64;

const SECTOR_BYTES = 512;

export function randomOperations(
  random: Random,
  { image, backing }: ImageRecipe,
  count: number,
): Operation[] {
  const places = new Places(random, image);
  const shadow = new SizeShadow(image.sizeBytes);
  const operations: Operation[] = [];
  while (operations.length < count) {
    const operation = randomOperation(random, places, shadow, image);
    if (!isPossible(operation, shadow, image, backing.length > 0)) continue;
    shadow.apply(operation);
    operations.push(operation);
  }
  return operations;
}

export function randomPrefill(random: Random, image: ImageOptions, count: number): Operation[] {
  const places = new Places(random, image);
  const shadow = new SizeShadow(image.sizeBytes);
  const operations: Operation[] = [];
  for (let i = 0; i < count; i++) {
    const operation = rangeOperation(
      random,
      random.weighted(PREFILL_WEIGHTS),
      places,
      shadow,
      image,
    );
    if (isPossible(operation, shadow, image, false)) operations.push(operation);
  }
  return operations;
}

/** A guest's operation, in units of sectors. */
export function inSectors(operation: Operation): Operation {
  switch (operation.kind) {
    case 'burst':
      return { ...operation, writes: operation.writes.map(rangeInSectors) };
    case 'read':
    case 'write':
    case 'compressed':
    case 'zeroes':
    case 'discard':
      return rangeInSectors(operation);
    default:
      return operation;
  }
}

function rangeInSectors<T extends Range>(range: T): T {
  const offset = range.offset - (range.offset % SECTOR_BYTES);
  const end = Math.ceil((range.offset + range.length) / SECTOR_BYTES) * SECTOR_BYTES;
  return { ...range, offset, length: end - offset };
}

/** The properties of a disk that determine which operations are possible. */
type Sizes = Pick<DiskModel, 'sizeBytes' | 'snapshotNames' | 'snapshotBytes'>;

/**
 * Whether both engines can do an operation: it is inside the disk, and QEMU 7.2 supports it. When a
 * stream is shortened, operations that have become impossible are skipped.
 */
export function isPossible(
  operation: Operation,
  disk: Sizes,
  image: ImageOptions,
  hasBacking: boolean,
): boolean {
  const snapshots = disk.snapshotNames;
  switch (operation.kind) {
    case 'burst':
      return operation.writes.every((write) => isInside(write, disk));
    case 'compressed':
      return (
        image.dataFile === 'none' &&
        isInside(operation, disk) &&
        isWhole(operation, disk, 2 ** image.clusterBits)
      );
    case 'read':
    case 'write':
    case 'zeroes':
    case 'discard':
      return isInside(operation, disk);
    case 'create-snapshot':
      return (
        image.dataFile === 'none' &&
        snapshots.length < snapshotsMax(image.refcountBits) &&
        !snapshots.includes(operation.name)
      );
    case 'apply-snapshot':
      return (
        snapshots.includes(operation.name) &&
        qemuGoesBackTo(operation.name, disk, image, hasBacking)
      );
    case 'delete-snapshot':
      return snapshots.includes(operation.name);
    case 'resize':
      // Version 2 has no size in its snapshots.
      if (image.version === 2 && snapshots.length > 0) return false;
      return qemuResizes(disk.sizeBytes, operation.sizeBytes, image, hasBacking);
    case 'flush':
    case 'reopen':
      return true;
  }
}

/** Whether QEMU can restore a snapshot, which may have another size. */
export function qemuGoesBackTo(
  snapshot: string,
  disk: Sizes,
  image: ImageOptions,
  hasBacking: boolean,
): boolean {
  return qemuResizes(disk.sizeBytes, disk.snapshotBytes(snapshot), image, hasBacking);
}

/**
 * When an image with a backing file grows, QEMU must zero the new part. In version 2 it cannot, and
 * with extended L2 entries not the rest of a last cluster that may be compressed.
 */
function qemuResizes(
  oldBytes: number,
  newBytes: number,
  image: ImageOptions,
  hasBacking: boolean,
): boolean {
  if (!hasBacking || newBytes <= oldBytes) return true;
  return image.version > 2 && (!image.extendedL2 || oldBytes % 2 ** image.clusterBits === 0);
}

function isInside({ offset, length }: Range, disk: Sizes): boolean {
  return offset + length <= disk.sizeBytes;
}

/** Ends at a cluster boundary. */
function isWhole({ offset, length }: Range, disk: Sizes, clusterBytes: number): boolean {
  return (offset + length) % clusterBytes === 0 || offset + length === disk.sizeBytes;
}

/** Narrow refcounts also count the compressed clusters that share a host cluster. */
function snapshotsMax(refcountBits: number): number {
  return refcountBits >= 8 ? 5 : 0;
}

function randomOperation(
  random: Random,
  places: Places,
  shadow: SizeShadow,
  image: ImageOptions,
): Operation {
  const kind = random.weighted(WEIGHTS);
  const name = `s${random.below(6)}`;
  switch (kind) {
    case 'flush':
      return { kind, how: random.pick(['sync', 'async']) };
    case 'create-snapshot':
    case 'apply-snapshot':
    case 'delete-snapshot':
      return { kind, name };
    case 'resize':
      return { kind, sizeBytes: places.size(shadow.sizeBytes) };
    case 'reopen':
      return { kind, swap: random.chance(0.5) };
    case 'burst':
      return { kind, writes: places.separate(random.between(2, 6), shadow.sizeBytes) };
    default:
      return rangeOperation(random, kind, places, shadow, image);
  }
}

function rangeOperation(
  random: Random,
  kind: 'read' | 'write' | 'compressed' | 'zeroes' | 'discard',
  places: Places,
  { sizeBytes }: SizeShadow,
  image: ImageOptions,
): Operation {
  const pattern = random.below(PATTERNS);
  switch (kind) {
    case 'read':
      return { kind, ...places.range(sizeBytes) };
    case 'write':
      return {
        kind,
        how: random.pick(['sync', 'sync', 'async', 'prepared']),
        pattern,
        ...places.range(sizeBytes),
      };
    case 'compressed': {
      const clusterBytes = 2 ** image.clusterBits;
      const { offset } = places.range(sizeBytes);
      const start = offset - (offset % clusterBytes);
      const end = start + random.between(1, 4) * clusterBytes;
      return { kind, pattern, offset: start, length: Math.min(end, sizeBytes) - start };
    }
    case 'zeroes':
      return { kind, mayUnmap: random.chance(0.5), ...places.range(sizeBytes) };
    case 'discard':
      return { kind, ...places.range(sizeBytes) };
  }
}

/** Chooses places of operations: mostly near earlier ones. */
class Places {
  readonly #random: Random;
  readonly #clusterBytes: number;
  readonly #hotSpots: number[] = [];

  constructor(random: Random, image: ImageOptions) {
    this.#random = random;
    this.#clusterBytes = 2 ** image.clusterBits;
    for (let i = 0; i < 4; i++) this.#hotSpots.push(random.below(image.sizeBytes));
  }

  range(sizeBytes: number): Range {
    const random = this.#random;
    const unit = this.#unit();
    const near = random.pick(this.#hotSpots) + (random.below(12) - 4) * this.#clusterBytes;
    const spot =
      random.chance(0.8) && near >= 0 && near < sizeBytes ? near : random.below(sizeBytes);
    const offset = spot - (spot % unit);
    const longest = random.chance(0.7) ? this.#clusterBytes : 6 * this.#clusterBytes;
    const length = random.between(1, Math.max(1, Math.floor(longest / unit))) * unit;
    return { offset, length: Math.min(length, sizeBytes - offset, 4 * 2 ** 20) };
  }

  /** Ranges in different clusters. */
  separate(count: number, sizeBytes: number): PatternWrite[] {
    const writes = new Map<number, PatternWrite>();
    for (let i = 0; i < count; i++) {
      const { offset, length } = this.range(sizeBytes);
      const inCluster = this.#clusterBytes - (offset % this.#clusterBytes);
      writes.set(Math.floor(offset / this.#clusterBytes), {
        offset,
        length: Math.min(length, inCluster),
        pattern: this.#random.below(PATTERNS),
      });
    }
    return [...writes.values()];
  }

  size(sizeBytes: number): number {
    const random = this.#random;
    const unit = random.pick([512, Math.max(512, this.#clusterBytes)]);
    const factor = random.pick([0.3, 0.6, 0.9, 1.1, 1.5]);
    return Math.max(1, Math.round((sizeBytes * factor) / unit)) * unit;
  }

  #unit(): number {
    const clusterBytes = this.#clusterBytes;
    return this.#random.pick([1, 512, 512, clusterBytes / 32, clusterBytes, clusterBytes]);
  }
}

/** Follows the disk's size, so that a stream can be generated without a disk. */
class SizeShadow implements Sizes {
  sizeBytes: number;
  readonly #snapshots = new Map<string, number>();

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  get snapshotNames(): string[] {
    return [...this.#snapshots.keys()];
  }

  snapshotBytes(name: string): number {
    return this.#snapshots.get(name) ?? this.sizeBytes;
  }

  apply(operation: Operation): void {
    switch (operation.kind) {
      case 'create-snapshot':
        this.#snapshots.set(operation.name, this.sizeBytes);
        break;
      case 'apply-snapshot':
        this.sizeBytes = this.snapshotBytes(operation.name);
        break;
      case 'delete-snapshot':
        this.#snapshots.delete(operation.name);
        break;
      case 'resize':
        this.sizeBytes = operation.sizeBytes;
        break;
      default:
        break;
    }
  }
}
