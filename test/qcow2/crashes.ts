/** Many crash trials from one seed. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkImage } from '../../vmm/backends/disk/image/qcow2/check/check.ts';
import { isSound } from '../../vmm/backends/disk/image/qcow2/check/check-report.ts';
import { parseHeader } from '../../vmm/backends/disk/image/qcow2/header/header.ts';
import { MemoryImageFile } from '../support/memory-image-file.ts';
import { qemuCheck, qemuImgOutputIn } from '../support/qemu-img.ts';
import { Random } from '../support/random.ts';
import { type CrashRecipe, recordOperations } from './crash-recording.ts';
import { type Crash, replayCrashes } from './crash-replay.ts';
import { randomSmallImage } from './image-recipe.ts';
import type { RecordingFile } from './journal.ts';
import { CRASHED_BACKING_NAME, CRASHED_DATA_NAME } from './memory-images.ts';
import { expectBytes, Mismatch } from './mismatch.ts';
import { inSectors, type Operation, randomOperations, randomPrefill } from './operations.ts';
import { Patterns } from './patterns.ts';
import { shrink } from './shrink.ts';
import { expectSameFigures } from './verdict.ts';

export interface CrashPlan {
  readonly seed: number;
  readonly streams: number;
  readonly operations: number;
  /** Random losses at each moment. */
  readonly losses: number;
  /** Approximate number of crashes that QEMU judges too. */
  readonly judged: number;
  readonly only?: number | undefined;
  readonly sabotage?: ((file: RecordingFile) => void) | undefined;
  readonly onProgress?: ((done: CrashResult) => void) | undefined;
}

export interface CrashResult {
  streams: number;
  crashes: number;
  judged: number;
}

/** @throws Error with the command that repeats the failing stream */
export async function runCrashes(plan: CrashPlan): Promise<CrashResult> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-crash-'));
  const patterns = new Patterns(join(folder, 'patterns'));
  const result: CrashResult = { streams: 0, crashes: 0, judged: 0 };
  try {
    for (let index = 0; index < plan.streams; index++) {
      if (plan.only !== undefined && plan.only !== index) continue;
      await runStream(plan, index, { folder, patterns, result });
      result.streams += 1;
      plan.onProgress?.(result);
    }
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface StreamTools {
  readonly folder: string;
  readonly patterns: Patterns;
  readonly result: CrashResult;
}

async function runStream(plan: CrashPlan, index: number, tools: StreamTools): Promise<void> {
  const random = new Random(plan.seed + Math.imul(index, 0x9e3779b1));
  const recipe = randomCrashRecipe(random.fork(), plan.operations);
  const lossSeed = random.uint32();
  const attempt = async (operations: readonly Operation[]): Promise<Error | undefined> => {
    try {
      await runAttempt(plan, { ...recipe, operations }, new Random(lossSeed), tools);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  };
  const failure = await attempt(recipe.operations);
  if (failure === undefined) return;
  const shortest = await shrink(recipe.operations, attempt);
  const { operations: _operations, ...rest } = recipe;
  const lines = [
    `stream ${index} of seed ${plan.seed}: ${(shortest.failure ?? failure).message}`,
    `recipe: ${JSON.stringify(rest)}`,
    'the shortest stream found that fails:',
    ...shortest.operations.map((operation) => `  ${JSON.stringify(operation)}`),
    'again with:',
    `  TSVM_QCOW2_SEED=${plan.seed} TSVM_QCOW2_CRASH_STREAMS=${plan.streams} ` +
      `TSVM_QCOW2_ONLY=${index} node test/qcow2/run-crashes.ts`,
  ];
  throw new Error(lines.join('\n'), { cause: failure });
}

async function runAttempt(
  plan: CrashPlan,
  recipe: CrashRecipe,
  random: Random,
  { folder, patterns, result }: StreamTools,
): Promise<void> {
  const recorded = await recordOperations(recipe, patterns, plan.sabotage);
  // Each stream has about as many crashes as events and losses.
  const expected = plan.streams * recorded.journal.events.length * (plan.losses + 3);
  result.crashes += await replayCrashes(recorded, {
    random,
    losses: plan.losses,
    onCrash: async (crash) => {
      if (!random.chance(plan.judged / expected)) return;
      await letQemuJudge(crash, folder);
      result.judged += 1;
    },
  });
}

function randomCrashRecipe(random: Random, count: number): CrashRecipe {
  const hasBacking = random.chance(0.4);
  const image = randomSmallImage(random.fork(), hasBacking);
  const size = random.pick([image.sizeBytes, image.sizeBytes / 2, image.sizeBytes * 2]);
  const backingBytes = hasBacking ? Math.ceil(size / 512) * 512 : 0;
  const recipe = {
    image,
    backing: hasBacking ? [{ format: 'raw', sizeBytes: backingBytes } as const] : [],
    creator: 'each',
    cacheBytes: undefined,
  } as const;
  return {
    image,
    backingBytes,
    prefill: randomPrefill(random.fork(), image, random.between(0, 8)),
    operations: randomOperations(random.fork(), recipe, count).map(inSectors),
  };
}

/** Asserts that QEMU finds what our check finds, and reads what our engine reads. */
async function letQemuJudge({ files, backing, content }: Crash, folder: string): Promise<void> {
  const path = join(folder, 'crashed.qcow2');
  const [image = new Uint8Array(), data] = files;
  writeFileSync(path, image);
  if (data !== undefined) writeFileSync(join(folder, CRASHED_DATA_NAME), data);
  if (backing.length > 0) writeFileSync(join(folder, CRASHED_BACKING_NAME), backing);
  const file = new MemoryImageFile(image);
  const found = checkImage(file);
  expectSameFigures(found, await qemuCheck(path), 'after a crash');
  if (parseHeader(file).dirty || !isSound(found)) {
    await qemuImgOutputIn(folder, 'check', '-q', '-r', 'all', path);
  }
  const { corruptions, checkErrors, text } = await qemuCheck(path);
  if (corruptions + checkErrors > 0) throw new Mismatch(`qemu-img check: ${text}`);
  await qemuImgOutputIn(folder, 'convert', '-f', 'qcow2', '-O', 'raw', path, 'crashed.out');
  expectBytes(readFileSync(join(folder, 'crashed.out')), content, 0, 'QEMU reads');
}
