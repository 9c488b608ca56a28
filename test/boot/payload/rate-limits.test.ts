/** Rate limits of a disk as a guest meets them; `rate_limiter_test.c` checks the rates. */
import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runPayload, temporaryFolder } from '../../support/tsvm-process.ts';

const COUNT = 20;
/** A request is looked at more than once while it waits, the more often the longer. */
const DELAYS_MAX = 20 * COUNT;

for (const { limit, delaysMin, delaysMax } of [
  { limit: '', delaysMin: 0, delaysMax: 0 },
  { limit: ',iops=1M,bps=1T', delaysMin: 0, delaysMax: 0 },
  // One after the other: all but the first two wait, unless the host takes 50 ms for one.
  { limit: ',iops=20,iops_max=2', delaysMin: 1, delaysMax: DELAYS_MAX },
  // The first ten of 4 KiB may pass at once.
  { limit: ',bps=40K,bps_max=40K', delaysMin: 1, delaysMax: DELAYS_MAX },
]) {
  test(`requests of a disk${limit} wait, and all are served`, async (t) => {
    const folder = temporaryFolder(t);
    const disk = join(folder, 'disk.img');
    const metrics = join(folder, 'metrics.json');
    closeSync(openSync(disk, 'w'));
    truncateSync(disk, 2 ** 20);
    const { stdout, stderr } = await runPayload(`bench=blk-randread bs=4096 qd=1 count=${COUNT}`, [
      ...['--disk', `${disk}${limit}`, '--metrics', metrics],
    ]);
    assert.match(stdout, /^bench blk-randread /m, stdout + stderr);
    const { counters } = JSON.parse(readFileSync(metrics, 'utf8'));
    assert.equal(counters.disk0.reads, COUNT);
    const { rateDelays } = counters.disk0;
    assert.ok(rateDelays >= delaysMin && rateDelays <= delaysMax, `${rateDelays} delays`);
  });
}
