/** tsvm on hosts with hardware virtualization, and its C core on several processors, emulated. */
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { runOnEmulatedHost } from './emulated-host.ts';
import { EmulatorFault } from './emulator-fault.ts';
import { buildHostImage, type HostImage } from './host-image.ts';
import type { HostedTest } from './results.ts';
import { HOST_PLANS, type HostPlan } from './test-list.ts';

/** The longest host takes four minutes where each has a core to itself, which it has not beside other tests. */
const TIMEOUT_MS = 2_700_000;

/** One test of an emulated host as a test of ours. */
function report(t: TestContext, { file, name, durationMs, skipped, failure }: HostedTest) {
  return t.test(`${basename(file, '.test.ts')}: ${name}`, (subtest) => {
    subtest.diagnostic(`${Math.round(durationMs)} ms there`);
    if (skipped !== undefined) subtest.skip(skipped);
    if (failure !== undefined) throw new Error(failure);
  });
}

/** Hosts that a plan's files may take, when the emulation of each before the last fails. */
const HOSTS_AT_MOST = 3;

async function runPlan(t: TestContext, plan: HostPlan, image: HostImage): Promise<void> {
  let files = plan.files;
  let count = 0;
  for (let host = 1; files.length > 0; host++) {
    try {
      const hosted = runOnEmulatedHost({ ...plan, files, image, timeoutMs: TIMEOUT_MS });
      for await (const result of hosted) {
        if ('endedFile' in result) {
          files = files.filter((file) => file !== result.endedFile);
        } else {
          await report(t, result);
          count++;
        }
      }
      break;
    } catch (error) {
      if (!(error instanceof EmulatorFault) || host === HOSTS_AT_MOST) throw error;
      t.diagnostic(`again, on another host: ${files.join(' ')}\n${error.message}`);
    }
  }
  if (count === 0) throw new Error('the emulated host ran no test');
}

/** Each takes a core. */
const hostsAtATime = Number(process.env['TSVM_EMULATED_HOSTS'] ?? availableParallelism());

test('on emulated hosts', { concurrency: hostsAtATime }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tsvm-emulated-hosts-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const image = buildHostImage(folder);
  await Promise.all(
    HOST_PLANS.map((plan) => t.test(plan.name, (host) => runPlan(host, plan, image))),
  );
});
