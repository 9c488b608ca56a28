/** What a guest costs its host beside its own memory: when it does nothing, next to no time. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BOOT_TIMEOUT_MS } from '../../support/linux-guest.ts';
import { runTsvm, temporaryFolder } from '../../support/tsvm-process.ts';

/** Of one core. */
const IDLE_SHARE_MAX = 0.005;
/** Looked at for so long each time. After a boot V8 still tidies up, and a busy host adds its share. */
const MEASURED_MS = 3000;
const TRIES = 8;

/** What the kernel-mode engine may take for a boot of the default guest, and its shell. */
const ENGINE_BYTES_MAX = 24 * 2 ** 20;

/** Processor time of all threads of a process, in `ms` (/proc/PID/task/TID/schedstat). */
function processorMs(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  const times = readdirSync(tasks).map((task) => {
    try {
      return Number(readFileSync(`${tasks}/${task}/schedstat`, 'latin1').split(' ')[0]);
    } catch {
      return 0; // The thread has just ended.
    }
  });
  return times.reduce((sum, ns) => sum + ns, 0) / 1e6;
}

/** The least share of a core that was seen; the first that is little enough. */
async function measureShare(pid: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES && least >= IDLE_SHARE_MAX; i++) {
    const start = performance.now();
    const before = processorMs(pid);
    await sleep(MEASURED_MS);
    least = Math.min(least, (processorMs(pid) - before) / (performance.now() - start));
  }
  return least;
}

test('an idle guest with two vCPUs uses less than half a percent of a core', async (t) => {
  let measured: Promise<number> | undefined;
  await runTsvm(['boot', '--cpus', '2'], {
    input: 'echo rest""ing; sleep 600\n',
    timeoutMs: BOOT_TIMEOUT_MS,
    onStdout: (text, child) => {
      if (measured !== undefined || !text.includes('resting') || child.pid === undefined) return;
      measured = measureShare(child.pid).finally(() => child.kill('SIGTERM'));
    },
  });
  assert.ok(measured !== undefined, 'the guest came to its shell');
  const percent = 100 * (await measured);
  t.diagnostic(`${percent.toFixed(2)} % of a core`);
  assert.ok(percent < 100 * IDLE_SHARE_MAX, `${percent} %`);
});

test('the engine uses less than 24 MiB for the default guest and its shell', async (t) => {
  const metrics = join(temporaryFolder(t), 'metrics.json');
  const { code, stdout } = await runTsvm(['boot', '--metrics', metrics], {
    input: 'ls -l /bin; poweroff\n',
    timeoutMs: BOOT_TIMEOUT_MS,
  });
  assert.equal(code, 0, stdout);
  const [, bytes] = /"engineResidentBytes": (\d+)/.exec(readFileSync(metrics, 'utf8')) ?? [];
  if (bytes === undefined) {
    t.skip('the engine did not run this guest');
    return;
  }
  t.diagnostic(`${(Number(bytes) / 2 ** 20).toFixed(1)} MiB`);
  assert.ok(Number(bytes) > 2 ** 20 && Number(bytes) < ENGINE_BYTES_MAX, `${bytes} bytes`);
});
