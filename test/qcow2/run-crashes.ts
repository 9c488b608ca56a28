/**
 * Crash trials by hand. Numbers come from the environment: TSVM_QCOW2_SEED,
 * TSVM_QCOW2_CRASH_STREAMS, TSVM_QCOW2_ONLY (one stream of the run).
 */

import { runCrashes } from './crashes.ts';
import { crashPlan } from './run-plans.ts';

async function main(): Promise<void> {
  const plan = crashPlan(process.env);
  process.stdout.write(`seed ${plan.seed}\n`);
  const started = Date.now();
  await runCrashes({
    ...plan,
    onProgress: ({ streams, crashes, judged }) => {
      const seconds = ((Date.now() - started) / 1000).toFixed(0);
      process.stdout.write(
        `${streams} streams, ${crashes} crashes, ${judged} of them judged by QEMU, ${seconds} s\n`,
      );
    },
  });
}

await main();
