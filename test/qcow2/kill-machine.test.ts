import assert from 'node:assert/strict';
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { QemuIo } from '../support/qemu-io.ts';
import { temporaryFolder } from '../support/tsvm-process.ts';
import { runMachineKills } from './machine-kill.ts';
import { type MachineLoad, machineStep, ORIGIN_BACKING, ORIGIN_ZERO } from './machine-load.ts';
import { expectFlushed } from './machine-verdict.ts';
import { Mismatch } from './mismatch.ts';
import { machineKillPlan } from './run-plans.ts';

test('a machine that is killed under load keeps flushed data; at most space is lost', async (t) => {
  const plan = machineKillPlan(process.env);
  // The moment of a kill does not follow from the seed: the images of a failure are kept.
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-kill-machine-'));
  t.diagnostic(`seed ${plan.seed}, images in ${folder}`);
  const { kills, flushes, finished, proven } = await runMachineKills({
    ...plan,
    lanes: availableParallelism(),
    folder,
  });
  t.diagnostic(
    `${kills} kills, ${flushes} flushes, ${proven} sectors that nothing else explains; ` +
      `${finished} had no more to do`,
  );
  assert.equal(kills, plan.kills);
  assert.ok(flushes > kills / 2 && proven > 50 * kills, 'too little was flushed to prove anything');
  assert.ok(finished <= kills / 4, 'too many were not under load');
  rmSync(folder, { recursive: true });
});

/** Faults that an engine or its host could have. */
const FAULTS: Readonly<
  Record<
    string,
    {
      readonly sabotage: (path: string, beforeLife: string) => void | Promise<void>;
      readonly message: RegExp;
    }
  >
> = {
  'flushed writes that are not there': {
    sabotage: (path, beforeLife) => copyFileSync(beforeLife, path),
    message: /sector \d+ is of step -?\d+; when step \d+ was flushed/,
  },
  'flushed data that no metadata finds': {
    sabotage: (path) => clearBytes(path, offsetAt(path, L1_TABLE_OFFSET), 8),
    message: /sector \d+ is of step (0|-1); when step \d+ was flushed/,
  },
  'a torn sector': {
    sabotage: (path) => writeByQemu(path, 'write -P 0x55 4194304 100'),
    message: /sector 8192 begins as of step/,
  },
  'a cluster in use without a refcount': {
    sabotage: (path) => {
      const block = offsetAt(path, offsetAt(path, REFCOUNT_TABLE_OFFSET));
      clearBytes(path, block, 2);
    },
    message: /qemu-img check: /,
  },
};

for (const [fault, { sabotage, message }] of Object.entries(FAULTS)) {
  test(`the verdict on a killed machine finds ${fault}`, async (t) => {
    const plan = { seed: 1, kills: 8, lanes: 1, folder: temporaryFolder(t), sabotage };
    await assert.rejects(runMachineKills(plan), message);
  });
}

test('the verdict accepts flushed or later data, and nothing else', () => {
  const load = { seed: 7, first: 31, count: 30, stepsPerFlush: 1, depth: 1 };
  const flushed = 50;
  const before = new Int32Array(16384);
  const found = before.slice();
  for (let number = load.first; number <= flushed; number++) apply(found, load, number);
  assert.ok(expectFlushed(before, found, load, flushed) > 100);
  // The last step may be there without earlier ones, and only in some of its sectors.
  const later = machineStep(load.seed, before.length, 60);
  const newer = found.slice();
  newer[later.sector] = later.origin;
  expectFlushed(before, newer, load, flushed);
  assert.throws(() => expectFlushed(before, newer, { ...load, count: 29 }, flushed), Mismatch);
  const sector = found.findIndex((origin) => origin >= load.first);
  for (const wrong of [ORIGIN_ZERO, ORIGIN_BACKING, 30, 61]) {
    const older = found.slice();
    older[sector] = wrong;
    assert.throws(() => expectFlushed(before, older, load, flushed), Mismatch);
  }
});

function apply(disk: Int32Array, load: MachineLoad, number: number): void {
  const { sector, sectors, origin } = machineStep(load.seed, disk.length, number);
  disk.fill(origin, sector, sector + sectors);
}

/** Header fields that are file offsets. */
const L1_TABLE_OFFSET = 40;
const REFCOUNT_TABLE_OFFSET = 48;

/** Reads a file offset of 8 bytes. */
function offsetAt(path: string, at: number): number {
  const fd = openSync(path, 'r');
  const bytes = Buffer.alloc(8);
  readSync(fd, bytes, 0, 8, at);
  closeSync(fd);
  return Number(bytes.readBigUInt64BE());
}

function clearBytes(path: string, at: number, length: number): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.alloc(length), 0, length, at);
  closeSync(fd);
}

async function writeByQemu(path: string, command: string): Promise<void> {
  const io = new QemuIo();
  await io.ask(`open -o driver=qcow2 ${path}`, command);
  await io.end();
}
