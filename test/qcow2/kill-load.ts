/** The load on an image until its process is killed, and the check of what arrived. */
import { Random } from '../support/random.ts';
import { Mismatch } from './mismatch.ts';

export const SECTOR_BYTES = 512;

export interface LoadShape {
  readonly sizeBytes: number;
  readonly clusterBytes: number;
}

export interface LoadStep {
  readonly kind: 'write' | 'zeroes' | 'discard';
  readonly offset: number;
  readonly length: number;
}

/** Step `number` of a load; it follows from the number alone. */
export function loadStep({ sizeBytes, clusterBytes }: LoadShape, number: number): LoadStep {
  const random = new Random(number);
  const kind = random.weighted({ write: 12, zeroes: 1, discard: 2 });
  const unit = kind === 'discard' ? clusterBytes : SECTOR_BYTES;
  const offset = random.below(sizeBytes / unit) * unit;
  const longest = Math.max(1, (3 * clusterBytes) / unit);
  const length = Math.min(random.between(1, longest) * unit, sizeBytes - offset);
  return { kind, offset, length };
}

/** Each sector contains the number of the step that wrote it, and its place. */
export function loadData({ offset, length }: LoadStep, number: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  const wordsPerSector = SECTOR_BYTES / 4;
  const firstSector = offset / SECTOR_BYTES;
  for (let index = 0; index < words.length; index++) {
    const sector = firstSector + Math.floor(index / wordsPerSector);
    words[index] = [number, sector, Math.imul(number, 31) + index][Math.min(index % 128, 2)] ?? 0;
  }
  return new Uint8Array(words.buffer);
}

/** The known states of a disk under load. */
export class LoadRecord {
  readonly #shape: LoadShape;
  /** The disk when the load began. */
  readonly #before: Uint8Array;
  readonly #first: number;

  /** @param first the number of the first step since the disk was `before` */
  constructor(shape: LoadShape, before: Uint8Array, first: number) {
    this.#shape = shape;
    this.#before = before;
    this.#first = first;
  }

  /**
   * @param flushed the last step before the last completed flush; the load's first step minus one
   * if there was none
   * @param issued the last step that can have begun
   * @throws Mismatch when a sector is neither as of the flush nor as a later step made it
   */
  expectPossible(content: Uint8Array, flushed: number, issued: number): void {
    const sectors = this.#shape.sizeBytes / SECTOR_BYTES;
    const latest = this.#before.slice();
    const possible: Uint8Array[][] = Array.from({ length: sectors }, () => []);
    for (let number = this.#first; number <= issued; number++) {
      const step = loadStep(this.#shape, number);
      const data = step.kind === 'write' ? loadData(step, number) : new Uint8Array(step.length);
      if (number <= flushed) {
        latest.set(data, step.offset);
        continue;
      }
      for (let at = 0; at < step.length; at += SECTOR_BYTES) {
        possible[(step.offset + at) / SECTOR_BYTES]?.push(data.subarray(at, at + SECTOR_BYTES));
      }
    }
    for (const [sector, later] of possible.entries()) {
      const offset = sector * SECTOR_BYTES;
      const found = content.subarray(offset, offset + SECTOR_BYTES);
      const known = latest.subarray(offset, offset + SECTOR_BYTES);
      if ([known, ...later].some((candidate) => Buffer.compare(candidate, found) === 0)) continue;
      throw new Mismatch(
        `the sector at ${offset} is of step ${stepOf(found)}; it was flushed as of step ` +
          `${stepOf(known)}, and written later by ${later.map(stepOf)}`,
      );
    }
  }
}

function stepOf(sector: Uint8Array): number {
  return Buffer.from(sector).readUInt32LE(0);
}
