/** Fuzzes the engine: runs every operation on damaged images, which follow from a seed. */
import { Worker } from 'node:worker_threads';
import type { FuzzNews, FuzzOrders } from './fuzz-worker.ts';

export interface FuzzPlan {
  readonly seed: number;
  readonly seconds: number;
  /** Number of cases. */
  readonly cases?: number | undefined;
  readonly onProgress?: ((cases: number) => void) | undefined;
}

export interface FuzzResult {
  readonly cases: number;
  readonly slowestMs: number;
  readonly slowestSeed: number;
}

/** A case that takes longer than this hangs. */
const CASE_MS_MAX = 60_000;
/** Bounds of the heap, and of all memory including buffers. */
const HEAP_MIB_MAX = 512;
const RSS_BYTES_MAX = 1.5 * 2 ** 30;
const PROGRESS_CASES = 10_000;

/** @throws Error with the seed of the case that failed, hung, or used too much memory */
export function runFuzz(plan: FuzzPlan): Promise<FuzzResult> {
  const orders: FuzzOrders = { first: plan.seed, cases: plan.cases };
  const worker = new Worker(new URL('fuzz-worker.ts', import.meta.url), {
    workerData: orders,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
  });
  return new Promise((resolve, reject) => {
    const started = Date.now();
    let seed = plan.seed;
    let begun = started;
    let slowest = { slowestMs: 0, slowestSeed: plan.seed };
    let isOver = false;

    const end = (failure?: string): void => {
      if (isOver) return;
      isOver = true;
      clearInterval(watch);
      const result = { cases: seed - plan.seed, ...slowest };
      void worker.terminate().then(() => {
        if (failure === undefined) resolve(result);
        else reject(new Error(`fuzz case ${seed} ${failure}\nagain with: ${commandFor(seed)}`));
      });
    };
    const watch = setInterval(() => {
      const now = Date.now();
      const rss = process.memoryUsage.rss();
      if (now - begun > CASE_MS_MAX) end(`is not done after ${CASE_MS_MAX} ms`);
      else if (rss > RSS_BYTES_MAX) end(`made the process have ${rss} bytes`);
      else if (now - started > plan.seconds * 1000) end();
    }, 100);

    worker.on('message', (news: FuzzNews) => {
      if (isOver) return;
      if (news.kind === 'failed') return end(`failed: ${news.stack}`);
      const now = Date.now();
      if (now - begun > slowest.slowestMs) slowest = { slowestMs: now - begun, slowestSeed: seed };
      if (news.kind === 'finished') {
        seed += 1;
        return end();
      }
      seed = news.seed;
      begun = now;
      const cases = seed - plan.seed;
      if (cases > 0 && cases % PROGRESS_CASES === 0) plan.onProgress?.(cases);
    });
    worker.on('error', (error) => end(`ended the thread: ${error.stack}`));
  });
}

function commandFor(seed: number): string {
  return `node test/qcow2/run-fuzz.ts --seed ${seed} --cases 1`;
}
