import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import type { DiskImage } from '../../vmm/backends/disk/image/image.ts';
import { runOracle } from './oracle.ts';
import { oraclePlan } from './run-plans.ts';

test('our engine and QEMU agree on random operations on random images', async (t) => {
  const plan = oraclePlan(process.env);
  t.diagnostic(`seed ${plan.seed}`);
  const result = await runOracle({ ...plan, lanes: availableParallelism() });
  t.diagnostic(`${result.images} images, ${result.operations} operations`);
  if (plan.only !== undefined) return;
  assert.ok(result.operations >= plan.operations);
});

/** Faults that an engine could have. */
const FAULTS: Readonly<Record<string, (image: DiskImage) => void>> = {
  'a write that lands a sector too late': (image) => {
    const write = image.writeSync.bind(image);
    image.writeSync = (offset, data) => {
      const room = image.sizeBytes - data.length;
      write(Math.min(offset + 512, room), data);
    };
  },
  'zeroes that are not written': (image) => {
    image.writeZeroesSync = () => {};
  },
  'a discard that is ignored': (image) => {
    image.discardSync = () => {};
  },
  'a resize that forgets to cut': (image) => {
    const resize = image.resizeSync.bind(image);
    image.resizeSync = (sizeBytes) => resize(Math.max(sizeBytes, image.sizeBytes));
  },
};

for (const [fault, sabotage] of Object.entries(FAULTS)) {
  test(`the oracle finds ${fault}`, async () => {
    const plan = { seed: 1, images: 40, operations: 1600, lanes: 1, shrinks: false, sabotage };
    await assert.rejects(runOracle(plan), /: (operation \d+|the verdict)[\s\S]*again with/);
  });
}
