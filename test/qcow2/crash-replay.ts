/**
 * Crashes at every moment of a recording. After each, the image is valid except for lost space, has
 * everything that was flushed, and can be used again.
 */
import { checkImage, examine } from '../../vmm/backends/disk/image/qcow2/check/check.ts';
import { isSound } from '../../vmm/backends/disk/image/qcow2/check/check-report.ts';
import { repairImage } from '../../vmm/backends/disk/image/qcow2/check/repair.ts';
import { parseHeader } from '../../vmm/backends/disk/image/qcow2/header/header.ts';
import {
  applySnapshot,
  listSnapshots,
} from '../../vmm/backends/disk/image/qcow2/snapshot/snapshots.ts';
import { MemoryImageFile } from '../support/memory-image-file.ts';
import type { Random } from '../support/random.ts';
import type { Recorded } from './crash-recording.ts';
import { CrashStates, PLAIN_SURVIVALS, randomSurvival, type Survival } from './crash-states.ts';
import type { GuestHistory } from './guest-history.ts';
import { openInMemory } from './memory-images.ts';
import { expectBytes, Mismatch } from './mismatch.ts';

/** The result of a crash. */
export interface Crash {
  /** The image, and its data file if it has one. */
  readonly files: readonly Uint8Array[];
  readonly backing: Uint8Array;
  /** The content that our engine reads, after a repair if the image needs one. */
  readonly content: Uint8Array;
}

export interface ReplayOptions {
  readonly random: Random;
  /** Random losses at each moment, in addition to the systematic ones. */
  readonly losses: number;
  /** Receives each crash that has passed, for another judge. */
  readonly onCrash: (crash: Crash) => Promise<void>;
}

/** @returns the number of crashes */
export async function replayCrashes(recorded: Recorded, options: ReplayOptions): Promise<number> {
  const { initial, journal, history, backing } = recorded;
  const states = initial.map(
    (content, index) =>
      new CrashStates(
        content,
        journal.events.filter(({ file }) => file === index),
      ),
  );
  let crashes = 0;
  for (const time of crashTimes(recorded)) {
    for (const [name, survival] of survivals(options)) {
      const files = states.map((state) => state.at(time, survival));
      try {
        const content = examineCrash(files, backing, history, time, options.random);
        await options.onCrash({ files, backing, content });
      } catch (error) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
        throw new Mismatch(`after a crash at ${time} that kept ${name}: ${text}`, { cause: error });
      }
      crashes += 1;
    }
  }
  return crashes;
}

/** The beginning and end of an event. */
function crashTimes({ journal }: Recorded): number[] {
  const times = journal.events.flatMap(({ kind, begin, end }) =>
    kind === 'sync' || end !== begin + 1 ? [begin, end] : [begin],
  );
  return [...new Set(times)].sort((a, b) => a - b);
}

function* survivals({ random, losses }: ReplayOptions): Generator<[string, Survival]> {
  yield* Object.entries(PLAIN_SURVIVALS);
  for (let i = 0; i < losses; i++) yield ['some', randomSurvival(random.fork())];
}

/** @returns the content of the disk */
function examineCrash(
  contents: readonly Uint8Array[],
  backing: Uint8Array,
  history: GuestHistory,
  time: number,
  random: Random,
): Uint8Array {
  const files = contents.map((content) => new MemoryImageFile(content));
  const [file] = files;
  if (file === undefined) throw new Error('a crash needs a file');
  const asksForRepair = parseHeader(file).dirty;
  if (asksForRepair || (history.isChangingSnapshots(time) && hasFlagsWrong(file))) {
    repairImage(file, 'all');
  }
  const found = checkImage(file);
  if (!isSound(found) || (asksForRepair && found.leaks > 0)) {
    throw new Mismatch(`the check finds: ${found.problems.slice(0, 5).join('; ')}`);
  }
  const image = openInMemory(files, backing, true);
  const content = readAll(image);
  const snapshots = listSnapshots(image).map(({ name }) => name);
  history.expectPossible(content, snapshots, time);
  for (const name of snapshots) {
    const copy = openInMemory(copies(files), backing, false);
    applySnapshot(copy, name);
    history.expectSnapshot(name, readAll(copy));
  }
  if (random.chance(0.1)) useAgain(copies(files), backing, content, random);
  return content;
}

/**
 * Version 2 has no dirty bit, and flags are stored apart from their refcounts: while a snapshot
 * changes both, a check reports wrong flags. Only flags may be wrong.
 */
function hasFlagsWrong(file: MemoryImageFile): boolean {
  const { image, references, result } = examine(file);
  const { copiedMismatches } = references.needs;
  return image.header.version === 2 && result.corruptions === copiedMismatches;
}

function copies(files: readonly MemoryImageFile[]): MemoryImageFile[] {
  return files.map((file) => new MemoryImageFile(file.content()));
}

function readAll(image: { readonly sizeBytes: number; readSync: MemoryImageFile['readSync'] }) {
  const content = new Uint8Array(image.sizeBytes);
  image.readSync(0, content);
  return content;
}

/** Stale data in the file must not appear where something new is written. */
function useAgain(
  files: readonly MemoryImageFile[],
  backing: Uint8Array,
  content: Uint8Array,
  random: Random,
): void {
  const image = openInMemory(files, backing, false);
  const expected = content.slice();
  for (let i = 0; i < 8; i++) {
    const offset = random.below(expected.length);
    const data = new Uint8Array(Math.min(random.between(1, 3000), expected.length - offset));
    data.fill(random.between(1, 255));
    image.writeSync(offset, data);
    expected.set(data, offset);
  }
  expectBytes(readAll(image), expected, 0, 'used again, our engine reads');
  image.close();
  expectBytes(readAll(openInMemory(files, backing, true)), expected, 0, 'opened again, it reads');
  const [file] = files;
  const found = file && checkImage(file);
  if (!found || !isSound(found)) {
    throw new Mismatch(`used again, the check finds: ${found?.problems.slice(0, 5).join('; ')}`);
  }
}
