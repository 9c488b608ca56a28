/** Runs fuzz cases on a separate thread, so that one that hangs can be stopped. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { Random } from '../support/random.ts';
import { validImage } from './fuzz-corpus.ts';
import { mutate } from './fuzz-mutations.ts';
import { exercise } from './fuzz-target.ts';
import { Patterns } from './patterns.ts';

export interface FuzzOrders {
  /** The first case; each is a seed. */
  readonly first: number;
  /** Undefined for no limit. */
  readonly cases: number | undefined;
}

export type FuzzNews =
  | { readonly kind: 'begun'; readonly seed: number }
  | { readonly kind: 'failed'; readonly seed: number; readonly stack: string }
  | { readonly kind: 'finished' };

/** Number of mutants of each valid image. */
const MUTANTS = 40;

async function main({ first, cases }: FuzzOrders): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-fuzz-'));
  const patterns = new Patterns(join(folder, 'patterns'));
  rmSync(folder, { recursive: true });
  let corpus: Uint8Array[] = [];
  let corpusSeed = -1;
  for (let seed = first; cases === undefined || seed < first + cases; seed++) {
    tell({ kind: 'begun', seed });
    try {
      if (Math.floor(seed / MUTANTS) !== corpusSeed) {
        corpusSeed = Math.floor(seed / MUTANTS);
        corpus = await validImage(new Random(corpusSeed), patterns);
      }
      const random = new Random(seed);
      const [image = new Uint8Array(), ...rest] = corpus;
      await exercise([mutate(image, random), ...rest], random);
    } catch (error) {
      tell({
        kind: 'failed',
        seed,
        stack: error instanceof Error ? (error.stack ?? '') : `${error}`,
      });
      return;
    }
  }
  tell({ kind: 'finished' });
}

function tell(news: FuzzNews): void {
  parentPort?.postMessage(news);
}

await main(workerData as FuzzOrders);
