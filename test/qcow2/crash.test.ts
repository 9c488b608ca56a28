import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runCrashes } from './crashes.ts';
import type { RecordingFile } from './journal.ts';
import { crashPlan } from './run-plans.ts';

test('a crash at any moment costs space at most, and nothing that was flushed', async (t) => {
  const plan = crashPlan(process.env);
  t.diagnostic(`seed ${plan.seed}`);
  const { streams, crashes, judged } = await runCrashes(plan);
  t.diagnostic(`${streams} streams, ${crashes} crashes, ${judged} of them judged by QEMU`);
  assert.ok(plan.only !== undefined || crashes > 100 * plan.streams);
});

/** Faults that an engine or a host could have. */
const FAULTS: Readonly<Record<string, (file: RecordingFile) => void>> = {
  'syncs that are never asked for': (file) => {
    file.datasyncSync = () => {};
    file.datasync = async () => {};
  },
  'synchronous syncs that are left out': (file) => {
    file.datasyncSync = () => {};
  },
  'every second sync left out': (file) => {
    const sync = file.datasyncSync.bind(file);
    let count = 0;
    file.datasyncSync = () => {
      count += 1;
      if (count % 2 === 0) sync();
    };
  },
};

for (const [fault, sabotage] of Object.entries(FAULTS)) {
  test(`the crash replay finds ${fault}`, async () => {
    const plan = { seed: 1, streams: 20, operations: 30, losses: 4, judged: 0, sabotage };
    await assert.rejects(runCrashes(plan), /after a crash/);
  });
}
