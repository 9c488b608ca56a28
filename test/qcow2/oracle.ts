/** Runs many contests from one seed; a failing one is shortened and can be repeated. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { QemuIo } from '../support/qemu-io.ts';
import { Random } from '../support/random.ts';
import { runContest } from './contest.ts';
import { type ImageRecipe, randomRecipe } from './image-recipe.ts';
import { type Operation, randomOperations } from './operations.ts';
import { Patterns } from './patterns.ts';
import { shrink } from './shrink.ts';

export interface OraclePlan {
  readonly seed: number;
  readonly images: number;
  /** For all images together. */
  readonly operations: number;
  /** Concurrent contests. */
  readonly lanes: number;
  /** First image of the run; 0 by default. */
  readonly first?: number | undefined;
  /** Only this image of the run. */
  readonly only?: number | undefined;
  /** Shorten failing streams; true by default. */
  readonly shrinks?: boolean;
  readonly sabotage?: ((image: DiskImage) => void) | undefined;
  readonly onProgress?: ((done: OracleResult) => void) | undefined;
}

export interface OracleResult {
  readonly images: number;
  readonly operations: number;
}

/** @throws Error with the command that repeats the failing contest */
export async function runOracle(plan: OraclePlan): Promise<OracleResult> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-oracle-'));
  const run = new OracleRun(plan, folder);
  try {
    await Promise.all(Array.from({ length: plan.lanes }, () => run.lane()));
    return run.result;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

class OracleRun {
  readonly #plan: OraclePlan;
  readonly #folder: string;
  readonly #patterns: Patterns;
  #next: number;
  #images = 0;
  #operations = 0;
  #failed = false;

  constructor(plan: OraclePlan, folder: string) {
    this.#plan = plan;
    this.#folder = folder;
    this.#next = plan.first ?? 0;
    this.#patterns = new Patterns(join(folder, 'patterns'));
  }

  get result(): OracleResult {
    return { images: this.#images, operations: this.#operations };
  }

  /** Runs contests until there are no more or one has failed. */
  async lane(): Promise<void> {
    const qemuIo = new QemuIo();
    try {
      for (let index = this.#take(); index !== undefined; index = this.#take()) {
        await this.#runIndex(index, qemuIo);
      }
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      await qemuIo.end();
    }
  }

  #take(): number | undefined {
    const { images, only } = this.#plan;
    if (this.#failed || this.#next >= images) return undefined;
    const index = this.#next;
    this.#next += 1;
    return only === undefined || only === index ? index : this.#take();
  }

  async #runIndex(index: number, qemuIo: QemuIo): Promise<void> {
    const { seed, images, operations: all, onProgress } = this.#plan;
    const random = new Random(seed + Math.imul(index, 0x9e3779b1));
    const recipe = randomRecipe(random.fork(), index);
    const operations = randomOperations(random.fork(), recipe, Math.ceil(all / images));
    const fillSeed = random.uint32();
    const attempt = (stream: readonly Operation[]) =>
      this.#attempt(index, recipe, stream, fillSeed, qemuIo);
    const failure = await attempt(operations);
    if (failure !== undefined) {
      const shortest =
        this.#plan.shrinks === false ? { operations, failure } : await shrink(operations, attempt);
      throw this.#report(index, recipe, shortest.operations, shortest.failure ?? failure);
    }
    this.#images += 1;
    this.#operations += operations.length;
    onProgress?.(this.result);
  }

  async #attempt(
    index: number,
    recipe: ImageRecipe,
    operations: readonly Operation[],
    fillSeed: number,
    qemuIo: QemuIo,
  ): Promise<Error | undefined> {
    const folder = join(this.#folder, String(index));
    mkdirSync(folder);
    try {
      await runContest(recipe, operations, {
        folder,
        qemuIo,
        patterns: this.#patterns,
        random: new Random(fillSeed),
        sabotage: this.#plan.sabotage,
      });
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  #report(
    index: number,
    recipe: ImageRecipe,
    operations: readonly Operation[],
    failure: Error,
  ): Error {
    const { seed, images, operations: all } = this.#plan;
    const lines = [
      `image ${index} of seed ${seed}: ${failure.message}`,
      `recipe: ${JSON.stringify(recipe)}`,
      'the shortest stream found that fails:',
      ...operations.map((operation) => `  ${JSON.stringify(operation)}`),
      'again with:',
      `  TSVM_QCOW2_SEED=${seed} TSVM_QCOW2_IMAGES=${images} TSVM_QCOW2_OPERATIONS=${all} ` +
        `TSVM_QCOW2_ONLY=${index} node test/qcow2/run-oracle.ts`,
    ];
    return new Error(lines.join('\n'), { cause: failure });
  }
}
