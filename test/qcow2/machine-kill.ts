/** Kills machines under load at any moment: the image has what the guest was told is flushed. */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { qemuImgOutput } from '../support/qemu-img.ts';
import { Random } from '../support/random.ts';
import { type KillMoment, liveUntilKilled } from './machine-life.ts';
import { backingContent, type MachineLoad, SECTOR_BYTES } from './machine-load.ts';
import {
  awaitUnlocked,
  expectFlushed,
  expectLeaksAtMost,
  type ImageFormat,
  readByQemu,
} from './machine-verdict.ts';

const SECTORS = (8 * 2 ** 20) / SECTOR_BYTES;
/** The backing image is shorter than the disk. */
const BACKING_SECTORS = (6 * 2 ** 20) / SECTOR_BYTES;
/** Fewer when there are few kills, so that all kinds of images are used. */
const LIVES_PER_IMAGE_MAX = 8;
const FLUSHES_MAX = 16;
/** Flushes that a guest may do between the report that triggers the kill and the kill. */
const FLUSHES_BEYOND = 12;

interface ImageKind {
  readonly format: ImageFormat;
  /** `-o` of qemu-img create. */
  readonly options?: string;
  readonly backing?: boolean;
}

const KINDS: readonly ImageKind[] = [
  { format: 'qcow2', options: 'cluster_size=64k' },
  { format: 'raw' },
  { format: 'qcow2', options: 'cluster_size=64k', backing: true },
  { format: 'qcow2', options: 'cluster_size=4k' },
  { format: 'qcow2', options: 'cluster_size=64k,extended_l2=on' },
  { format: 'qcow2', options: 'cluster_size=16k,extended_l2=on', backing: true },
  { format: 'qcow2', options: 'cluster_size=4k,lazy_refcounts=on' },
  { format: 'qcow2', options: 'cluster_size=64k,compat=0.10' },
  { format: 'qcow2', options: 'cluster_size=512' },
];

export interface MachineKillPlan {
  readonly seed: number;
  readonly kills: number;
  /** Concurrent images. */
  readonly lanes: number;
  /** The folder for images, which are kept. */
  readonly folder: string;
  /** Damages the qcow2 image of a killed machine, which the verdict must find. */
  readonly sabotage?: (path: string, beforeLife: string) => void | Promise<void>;
}

export interface MachineKillResult {
  kills: number;
  flushes: number;
  /** Kills of guests that had finished. */
  finished: number;
  /** Sectors whose content only a flushed write explains. */
  proven: number;
}

export async function runMachineKills(plan: MachineKillPlan): Promise<MachineKillResult> {
  const result: MachineKillResult = { kills: 0, flushes: 0, finished: 0, proven: 0 };
  const livesPerImage = Math.min(Math.ceil(plan.kills / KINDS.length), LIVES_PER_IMAGE_MAX);
  const images = Math.ceil(plan.kills / livesPerImage);
  const random = new Random(plan.seed);
  const randoms = Array.from({ length: images }, () => random.fork());
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < images) {
      const index = next;
      next += 1;
      const lives = Math.min(livesPerImage, plan.kills - index * livesPerImage);
      await killRepeatedly(plan, index, lives, randoms[index] ?? random, result);
    }
  };
  await Promise.all(Array.from({ length: plan.lanes }, lane));
  return result;
}

/** One image, which each machine takes over from the one before. */
async function killRepeatedly(
  plan: MachineKillPlan,
  index: number,
  lives: number,
  random: Random,
  result: MachineKillResult,
): Promise<void> {
  const kind = KINDS[index % KINDS.length] as ImageKind;
  const path = await createImage(join(plan.folder, String(index)), kind);
  const seed = random.uint32();
  let content = await readByQemu(path, kind.format);
  let first = 1;
  for (let life = 0; life < lives; life++) {
    const moment = chooseMoment(random);
    const load = chooseLoad(random, { seed, first, flushes: moment.flushes });
    if (plan.sabotage) copyFileSync(path, `${path}.before`);
    try {
      const disk = `${path},format=${kind.format}`;
      const lived = await liveUntilKilled(disk, random.between(1, 2), load, moment);
      if (kind.format === 'raw') {
        await awaitUnlocked(path, 'raw');
      } else {
        await plan.sabotage?.(path, `${path}.before`);
        await expectLeaksAtMost(path);
      }
      const found = await readByQemu(path, kind.format);
      result.proven += expectFlushed(content, found, load, lived.flushed);
      result.flushes += lived.flushes;
      result.finished += Number(lived.isFinished);
      content = found;
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      const backing = kind.backing ? ' over a backing image' : '';
      const { format, options = '' } = kind;
      throw new Error(`${format} ${options}${backing}, life ${life} of ${path}: ${text}`, {
        cause: error,
      });
    }
    result.kills += 1;
    first += load.count;
  }
}

async function createImage(
  folder: string,
  { format, options, backing }: ImageKind,
): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `killed.${format}`);
  const create = ['create', '-q', '-f', format];
  const chain = options === undefined ? [] : ['-o', options];
  if (backing) {
    writeFileSync(join(folder, 'backing.raw'), backingContent(BACKING_SECTORS));
    chain.push('-F', 'raw', '-b', 'backing.raw');
  }
  await qemuImgOutput(...create, ...chain, path, String(SECTORS * SECTOR_BYTES));
  return path;
}

/** Mostly while the guest flushes; sometimes while it starts, or while the image is opened. */
function chooseMoment(random: Random): KillMoment {
  const flushes = random.between(0, FLUSHES_MAX);
  const delayMs = random.between(0, flushes === 0 ? 20 : 5);
  const processMs = random.chance(0.08) ? random.between(50, 250) : undefined;
  return { flushes, delayMs, processMs };
}

function chooseLoad(
  random: Random,
  { seed, first, flushes }: { seed: number; first: number; flushes: number },
): MachineLoad {
  const stepsPerFlush = random.between(2, 24);
  const count = (flushes + FLUSHES_BEYOND) * stepsPerFlush;
  return { seed, first, count, stepsPerFlush, depth: random.between(1, 16) };
}
