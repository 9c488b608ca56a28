/** The steps of the payload's `flush-load`, from the same seed. */
import { Random } from '../support/random.ts';
import { Mismatch } from './mismatch.ts';

export const SECTOR_BYTES = 512;

const SECTOR_WORDS = SECTOR_BYTES / 4;
const PLACE_SECTORS_MIN = 8;
const PLACE_SECTORS_MAX = 128;
const PAGE_SECTORS = 8;

/** The origin of a sector: the number of the step that wrote it, from 1, or one of these. */
export type Origin = number;
export const ORIGIN_ZERO: Origin = 0;
/** Unchanged from the backing image. */
export const ORIGIN_BACKING: Origin = -1;

export interface MachineLoad {
  readonly seed: number;
  /** The number of its first step. */
  readonly first: number;
  /** Number of steps after which the guest is finished. */
  readonly count: number;
  readonly stepsPerFlush: number;
  /** Concurrent steps. */
  readonly depth: number;
}

/** A range of sectors and its new origin. */
export interface MachineStep {
  readonly sector: number;
  readonly sectors: number;
  readonly origin: Origin;
}

/** The payload's command line. */
export function loadWords(load: MachineLoad): string {
  const { seed, first, count, stepsPerFlush, depth } = load;
  return `tests=flush-load seed=${seed} first=${first} count=${count} per-flush=${stepsPerFlush} qd=${depth}`;
}

/** @param sectors of the disk, a multiple of 64 KiB */
export function machineStep(seed: number, sectors: number, number: number): MachineStep {
  const random = new Random(new Random(seed).uint32() ^ number);
  const kind = random.uint32() % 16;
  const places = PLACE_SECTORS_MAX - PLACE_SECTORS_MIN + 1;
  let length = PLACE_SECTORS_MIN + (random.uint32() % places);
  let sector = random.uint32() % (sectors - PLACE_SECTORS_MAX + 1);
  if (random.uint32() % 2 === 0) {
    sector -= sector % PAGE_SECTORS;
    length -= length % PAGE_SECTORS;
  }
  // A discard.
  if (kind <= 1) {
    sector -= sector % PLACE_SECTORS_MAX;
    length = PLACE_SECTORS_MAX;
  }
  return { sector, sectors: length, origin: kind <= 3 ? ORIGIN_ZERO : number };
}

/** The origin of each sector of a disk; throws unless stamps are complete and in their places. */
export function readOrigins(content: Uint8Array): Int32Array {
  const words = new Int32Array(content.buffer, content.byteOffset, content.length / 4);
  const origins = new Int32Array(content.length / SECTOR_BYTES);
  for (const sector of origins.keys()) {
    const start = sector * SECTOR_WORDS;
    const origin = words[start] ?? 0;
    for (let index = 0; index < SECTOR_WORDS; index++) {
      if (words[start + index] === stampWord(origin, sector, index)) continue;
      throw new Mismatch(
        `sector ${sector} begins as of step ${origin}, but at byte ${4 * index} it is of another`,
      );
    }
    origins[sector] = origin;
  }
  return origins;
}

/** Sectors of a backing image, each with its stamp. */
export function backingContent(sectors: number): Uint8Array {
  const words = new Int32Array(sectors * SECTOR_WORDS);
  for (const at of words.keys()) {
    const sector = Math.floor(at / SECTOR_WORDS);
    words[at] = stampWord(ORIGIN_BACKING, sector, at % SECTOR_WORDS);
  }
  return new Uint8Array(words.buffer);
}

function stampWord(origin: Origin, sector: number, index: number): number {
  if (origin === ORIGIN_ZERO) return 0;
  if (index === 0) return origin;
  if (index === 1) return sector;
  return (Math.imul(origin, 0x9e3779b1) + Math.imul(sector, 0x85ebca77) + index) | 0;
}
