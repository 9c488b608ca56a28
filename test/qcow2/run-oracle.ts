/**
 * The oracle by hand: a run of any length, or a failing image again. Numbers come from the
 * environment: TSVM_QCOW2_SEED, TSVM_QCOW2_IMAGES, TSVM_QCOW2_OPERATIONS (of all images together),
 * TSVM_QCOW2_FIRST (the first image of the run), TSVM_QCOW2_ONLY (one image of the run).
 */
import { availableParallelism } from 'node:os';
import { type OracleResult, runOracle } from './oracle.ts';
import { oraclePlan } from './run-plans.ts';

const PROGRESS_IMAGES = 100;

async function main(): Promise<void> {
  const plan = oraclePlan(process.env);
  const started = Date.now();
  const say = ({ images, operations }: OracleResult) => {
    const seconds = ((Date.now() - started) / 1000).toFixed(0);
    process.stdout.write(`${images} images, ${operations} operations, ${seconds} s\n`);
  };
  process.stdout.write(`seed ${plan.seed}\n`);
  const result = await runOracle({
    ...plan,
    lanes: availableParallelism(),
    onProgress: (done) => {
      if (done.images % PROGRESS_IMAGES === 0) say(done);
    },
  });
  say(result);
}

await main();
