import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { qemuCheck, qemuImg, qemuImgOutput } from '../support/qemu-img.ts';
import { Random } from '../support/random.ts';
import { runPayload, temporaryFolder } from '../support/tsvm-process.ts';
import { machineKillPlan } from './run-plans.ts';

/** The writing tests of the payload, which flush and discard, and then first writes everywhere. */
const LOAD =
  'tests=blk-pattern,blk-flush,blk-discard bench=blk-randwrite bs=4096 qd=16 count=100000000';

const OPTIONS = ['cluster_size=64k', 'cluster_size=4k,lazy_refcounts=on', 'compat=0.10'];

test('a machine that is killed under load leaves an image with lost space at most', async (t) => {
  const { seed, kills } = machineKillPlan(process.env);
  t.diagnostic(`seed ${seed}`);
  const random = new Random(seed);
  const folder = temporaryFolder(t);
  let underLoad = 0;
  let allocatedClusters = 0;
  for (let kill = 0; kill < kills; kill++) {
    const disk = join(folder, 'disk.qcow2');
    const options = random.pick(OPTIONS);
    await qemuImgOutput('create', '-q', '-f', 'qcow2', '-o', options, disk, '64M');
    // A kill ends the run with an error, as it should.
    const run = await runPayload(LOAD, ['--disk', disk], {
      onStdout: killAfter(random.between(0, 300)),
    }).catch((error: unknown) => error);
    assert.match(String(run), /killed/);
    underLoad += Number(/^payload: hello/m.test(String(run)));
    await repairIfAsked(disk);
    const check = await qemuCheck(disk);
    assert.deepEqual([check.corruptions, check.checkErrors], [0, 0], `${options}: ${check.text}`);
    allocatedClusters += check.allocatedClusters;
  }
  t.diagnostic(`${kills} kills, ${allocatedClusters} clusters were in place`);
  assert.equal(underLoad, kills);
});

/** @returns what kills the machine so long after its guest has said something */
function killAfter(
  delayMs: number,
): (text: string, child: { kill(signal: 'SIGKILL'): boolean }) => void {
  let isSet = false;
  return (text, child) => {
    if (isSet || !text.includes('payload: hello')) return;
    isSet = true;
    setTimeout(() => child.kill('SIGKILL'), delayMs);
  };
}

/** Only an image that says so may have refcounts to be repaired. */
async function repairIfAsked(disk: string): Promise<void> {
  if (/"dirty-flag": true/.test(await infoWhenUnlocked(disk))) {
    await qemuImg('check', '-q', '-r', 'all', disk);
  }
}

/** The kernel ends io_uring requests, and with them the lock, some time after their process. */
async function infoWhenUnlocked(disk: string): Promise<string> {
  for (let tries = 0; tries < 200; tries++) {
    const { code, stdout } = await qemuImg('info', '--output=json', disk);
    if (code === 0) return stdout;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`${disk} is still locked`);
}
