/** The fuzzer by hand: `run-fuzz.ts [--minutes N] [--seed N] [--cases N]`. */
import { parseArgs } from 'node:util';
import { seedFrom } from '../support/random.ts';
import { runFuzz } from './fuzz.ts';

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string' },
      cases: { type: 'string' },
    },
  });
  const seed = seedFrom(values.seed ?? 'random', 0);
  process.stdout.write(`seed ${seed}\n`);
  const result = await runFuzz({
    seed,
    seconds: Number(values.minutes) * 60,
    cases: values.cases === undefined ? undefined : Number(values.cases),
    onProgress: (cases) => {
      process.stdout.write(`${cases} cases\n`);
    },
  });
  process.stdout.write(
    `${result.cases} cases; the slowest, ${result.slowestSeed}, took ${result.slowestMs} ms\n`,
  );
}

await main();
