import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../support/random.ts';
import { PATTERNS } from './operations.ts';

/** A prime, so that data at a wrong sector or cluster is noticed. */
const PATTERN_BYTES = 8191;

/**
 * Repeating patterns, as written by `qemu-io write -s FILE`. Half of them can be compressed well,
 * the rest not at all.
 */
export class Patterns {
  readonly #folder: string;
  readonly #patterns: Uint8Array[] = [];

  /** @param folder created for the files that qemu-io reads */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder);
    for (let index = 0; index < PATTERNS; index++) {
      const random = new Random(index);
      const values = index % 2 === 0 ? 256 : 3;
      const pattern = Uint8Array.from({ length: PATTERN_BYTES }, () => 1 + random.below(values));
      this.#patterns.push(pattern);
      writeFileSync(this.path(index), pattern);
    }
  }

  path(index: number): string {
    return join(this.#folder, String(index));
  }

  bytes(index: number, length: number): Uint8Array {
    const pattern = this.#patterns[index];
    if (pattern === undefined) throw new Error(`no pattern ${index}`);
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; done += PATTERN_BYTES) {
      bytes.set(pattern.subarray(0, Math.min(PATTERN_BYTES, length - done)), done);
    }
    return bytes;
  }
}
