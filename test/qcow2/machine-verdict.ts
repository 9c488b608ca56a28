/** Judges a disk after its machine was killed. QEMU reads it and checks the image. */
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { qemuCheck, qemuImg, qemuImgOutput } from '../support/qemu-img.ts';
import { type MachineLoad, type MachineStep, machineStep, readOrigins } from './machine-load.ts';
import { Mismatch } from './mismatch.ts';

export type ImageFormat = 'raw' | 'qcow2';

const LOCK_WAIT_MS = 10_000;

/** Space may be lost; an image marked dirty may have wrong refcounts, which a repair corrects. */
export async function expectLeaksAtMost(path: string): Promise<void> {
  let judged = path;
  if (/"dirty-flag": true/.test(await awaitUnlocked(path, 'qcow2'))) {
    // In a copy, since the next machine must repair the image by itself.
    judged = `${path}.repaired`;
    copyFileSync(path, judged);
    await qemuImg('check', '-q', '-f', 'qcow2', '-r', 'all', judged);
  }
  const { corruptions, checkErrors, text } = await qemuCheck(judged);
  if (corruptions + checkErrors > 0) throw new Mismatch(`qemu-img check: ${text}`);
  if (judged !== path) rmSync(judged);
}

/**
 * The kernel ends io_uring requests, and with them the lock, some time after their process.
 *
 * @returns the JSON output of qemu-img info
 */
export async function awaitUnlocked(path: string, format: ImageFormat): Promise<string> {
  for (let waitedMs = 0; ; waitedMs += 10) {
    const { code, stdout, stderr } = await qemuImg('info', '-f', format, '--output=json', path);
    if (code === 0) return stdout;
    if (waitedMs >= LOCK_WAIT_MS) throw new Mismatch(`qemu-img info: ${stderr}`);
    await sleep(10);
  }
}

/** The origin of each sector. */
export async function readByQemu(path: string, format: ImageFormat): Promise<Int32Array> {
  const raw = `${path}.content`;
  await qemuImgOutput('convert', '-f', format, '-O', 'raw', path, raw);
  return readOrigins(readFileSync(raw));
}

/**
 * Asserts that each sector is as of the flush, or as a later step made it.
 *
 * @param before the disk when the load began
 * @param flushed the last flushed step; the load's first step minus one if there is none
 * @returns the number of sectors whose content only a flushed step explains
 * @throws Mismatch
 */
export function expectFlushed(
  before: Int32Array,
  found: Int32Array,
  load: MachineLoad,
  flushed: number,
): number {
  const latest = before.slice();
  for (let number = load.first; number <= flushed; number++) {
    const { sector, sectors, origin } = machineStep(load.seed, latest.length, number);
    latest.fill(origin, sector, sector + sectors);
  }
  const isPossible = latest.map((origin, sector) => Number(found[sector] === origin));
  const isTouched = new Uint8Array(latest.length);
  for (const { sector, sectors, origin } of stepsAfter(load, latest.length, flushed)) {
    for (let at = sector; at < sector + sectors; at++) {
      isTouched[at] = 1;
      if (found[at] === origin) isPossible[at] = 1;
    }
  }
  const wrong = isPossible.indexOf(0);
  if (wrong >= 0) {
    const later = [...stepsAfter(load, latest.length, flushed)]
      .filter(({ sector, sectors }) => sector <= wrong && wrong < sector + sectors)
      .map(({ origin }) => origin);
    throw new Mismatch(
      `sector ${wrong} is of step ${found[wrong]}; when step ${flushed} was flushed it was of ` +
        `${latest[wrong]}, and later steps made it ${later.join(', ') || 'nothing else'} ` +
        `(0 is zero, -1 the backing image); ${isPossible.filter((is) => is === 0).length} ` +
        `sectors are wrong, of ${JSON.stringify(load)}`,
    );
  }
  return latest.filter((origin, at) => origin >= load.first && isTouched[at] === 0).length;
}

function* stepsAfter(load: MachineLoad, sectors: number, flushed: number): Generator<MachineStep> {
  for (let number = flushed + 1; number < load.first + load.count; number++) {
    yield machineStep(load.seed, sectors, number);
  }
}
