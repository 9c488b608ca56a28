import { writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Benchmark, type BenchmarkResult, runBenchmark } from './benchmark.ts';
import { blockBenchmarks } from './block.ts';
import { blockLatencyBenchmarks } from './block-latency.ts';
import { blockQueuesBenchmarks } from './block-queues.ts';
import { transferBenchmarks } from './container-transfer.ts';
import { containerBenchmarks } from './containers.ts';
import { convertBenchmarks } from './convert.ts';
import { debianInitrdBenchmark, debianLoginBenchmark } from './debian-login.ts';
import { diskBootBenchmark } from './disk-boot.ts';
import { exitBenchmarks } from './exits.ts';
import { hostText, measuredHost } from './host.ts';
import { imageBenchmarks } from './images.ts';
import { kernelBootBenchmark } from './kernel-boot.ts';
import { linuxSpeedBenchmarks } from './linux-speed.ts';
import { netBenchmarks } from './net.ts';
import { prebuiltBootBenchmark } from './prebuilt-boot.ts';
import { qcow2Benchmarks } from './qcow2.ts';
import { promiseMissed, reportText } from './report.ts';
import { residentMemoryBenchmarks } from './resident-memory.ts';
import { sparseBenchmarks } from './sparse.ts';
import { startUpBenchmark } from './start-up.ts';
import { transportBenchmarks } from './transport.ts';
import { transportPayloadBenchmarks } from './transport-payload.ts';
import { vsockBenchmarks } from './vsock.ts';
import { openWorkbench, type Workbench } from './workbench.ts';

const USAGE = `usage: node test/bench/run.ts [--json FILE] [--repeat N] [--check] [WORD...]
  Measures the benchmarks whose names contain one of the words, or all.
  --json FILE  writes all samples there
  --repeat N   samples of each contestant (5)
  --check      exit code 1 if a promise is not kept
`;

function allBenchmarks(workbench: Workbench): Benchmark[] {
  return [
    startUpBenchmark(workbench),
    ...exitBenchmarks(workbench),
    ...blockBenchmarks(workbench),
    ...blockLatencyBenchmarks(workbench),
    ...blockQueuesBenchmarks(workbench),
    ...qcow2Benchmarks(workbench),
    ...convertBenchmarks(workbench),
    ...sparseBenchmarks(workbench),
    ...imageBenchmarks(workbench),
    ...containerBenchmarks(workbench),
    ...transferBenchmarks(workbench),
    diskBootBenchmark(workbench),
    debianLoginBenchmark(workbench),
    debianInitrdBenchmark(workbench),
    prebuiltBootBenchmark(workbench),
    ...netBenchmarks(workbench),
    ...vsockBenchmarks(workbench),
    ...residentMemoryBenchmarks(workbench),
    kernelBootBenchmark(workbench),
    ...linuxSpeedBenchmarks(workbench),
    ...transportBenchmarks(workbench),
    ...transportPayloadBenchmarks(workbench),
  ];
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'string' },
      repeat: { type: 'string', default: '5' },
      check: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const repetitions = Number(values.repeat);
  if (values.help || !Number.isInteger(repetitions) || repetitions < 1) {
    process.stdout.write(USAGE);
    return values.help ? 0 : 2;
  }
  const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
  const benchmarks = allBenchmarks(await openWorkbench(root)).filter(
    ({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)),
  );
  const host = measuredHost();
  process.stdout.write(hostText(host));
  const results: BenchmarkResult[] = [];
  for (const benchmark of benchmarks) {
    const result = await runBenchmark(benchmark, repetitions);
    process.stdout.write(reportText(result));
    results.push(result);
  }
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ host, benchmarks: results }, null, 2)}\n`);
  }
  return values.check && promiseMissed(results) ? 1 : 0;
}

process.exitCode = await main();
