/**
 * Kills processes that write to an image at any moment: the image stays valid and has what was
 * flushed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { qemuCheck, qemuImgOutputIn } from '../support/qemu-img.ts';
import { Random } from '../support/random.ts';
import { LoadRecord } from './kill-load.ts';
import { Mismatch } from './mismatch.ts';

const WRITER = fileURLToPath(new URL('kill-writer.ts', import.meta.url));
const SIZE_BYTES = 2 ** 20;

/** `-o` of qemu-img create: images with different ways of writing metadata. */
const FLAVOURS = [
  'cluster_size=512',
  'cluster_size=4k,compat=0.10',
  'cluster_size=512,refcount_bits=64',
  'cluster_size=64k',
  'cluster_size=1k,lazy_refcounts=on',
  'cluster_size=16k,extended_l2=on',
  'cluster_size=1k,data_file=killed.data',
] as const;

export interface KillPlan {
  readonly seed: number;
  readonly kills: number;
  /** Concurrent images. */
  readonly lanes: number;
}

export interface KillResult {
  kills: number;
  /** Flushes reported by processes before they were killed. */
  flushes: number;
  steps: number;
}

export async function runKills({ seed, kills, lanes }: KillPlan): Promise<KillResult> {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-kill-'));
  const result: KillResult = { kills: 0, flushes: 0, steps: 0 };
  const random = new Random(seed);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < FLAVOURS.length) {
      const index = next;
      next += 1;
      const share =
        Math.floor(((index + 1) * kills) / FLAVOURS.length) -
        Math.floor((index * kills) / FLAVOURS.length);
      await killRepeatedly(
        join(folder, String(index)),
        FLAVOURS[index] ?? '',
        share,
        random.fork(),
        result,
      );
    }
  };
  try {
    await Promise.all(Array.from({ length: lanes }, lane));
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** One image, which each process takes over from the one before. */
async function killRepeatedly(
  folder: string,
  flavour: string,
  kills: number,
  random: Random,
  result: KillResult,
): Promise<void> {
  mkdirSync(folder);
  const path = join(folder, 'killed.qcow2');
  await qemuImgOutputIn(
    folder,
    'create',
    '-q',
    '-f',
    'qcow2',
    '-o',
    flavour,
    path,
    `${SIZE_BYTES}`,
  );
  const { 'cluster-size': clusterBytes } = JSON.parse(
    await qemuImgOutputIn(folder, 'info', '--output=json', path),
  ) as { readonly 'cluster-size': number };
  const shape = { sizeBytes: SIZE_BYTES, clusterBytes };
  let content: Uint8Array = new Uint8Array(SIZE_BYTES);
  let first = 1;
  for (let kill = 0; kill < kills; kill++) {
    const load = await runUntilKilled(path, first, random.between(0, 150));
    try {
      const found = await readAfterKill(folder, path);
      new LoadRecord(shape, content, first).expectPossible(found, load.flushed, load.issued);
      content = found;
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      throw new Error(`${flavour}, kill ${kill}: ${text}`, { cause: error });
    }
    result.kills += 1;
    result.flushes += load.flushes;
    result.steps += load.issued - first + 1;
    first = load.issued + 1;
  }
}

interface Load {
  readonly flushed: number;
  readonly issued: number;
  readonly flushes: number;
}

/** @param afterMs time from the first step to the kill */
async function runUntilKilled(path: string, first: number, afterMs: number): Promise<Load> {
  const child = spawn(process.execPath, [WRITER, path, String(first)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  let complained = '';
  let timer: NodeJS.Timeout | undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    timer ??= setTimeout(() => child.kill('SIGKILL'), afterMs);
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complained += text;
  });
  const [, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  clearTimeout(timer);
  if (signal !== 'SIGKILL') throw new Mismatch(`the process has ended by itself: ${complained}`);
  const numbers = (word: string) =>
    [...said.matchAll(new RegExp(`^${word} (\\d+)$`, 'gm'))].map(([, number]) => Number(number));
  const flushed = numbers('flushed');
  return {
    flushed: flushed.at(-1) ?? first - 1,
    issued: numbers('step').at(-1) ?? first - 1,
    flushes: flushed.length,
  };
}

/** QEMU is the judge. */
async function readAfterKill(folder: string, path: string): Promise<Uint8Array> {
  const info = await qemuImgOutputIn(folder, 'info', '--output=json', path);
  if (/"dirty-flag": true/.test(info)) {
    await qemuImgOutputIn(folder, 'check', '-q', '-r', 'all', path);
  }
  const { corruptions, checkErrors, text } = await qemuCheck(path);
  if (corruptions + checkErrors > 0) throw new Mismatch(`qemu-img check: ${text}`);
  await qemuImgOutputIn(folder, 'convert', '-f', 'qcow2', '-O', 'raw', path, 'killed.raw');
  return readFileSync(join(folder, 'killed.raw'));
}
