/** Containers: a run that does nothing and its parts, exec, and output to a pipe; tsvm and podman. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Benchmark, Contestant } from './benchmark.ts';
import { containerEngines, type Engine, IMAGE, timeOf } from './container-engines.ts';
import type { Workbench } from './workbench.ts';

const OUTPUT_BYTES = 512 * 2 ** 20;
const OUTPUT_LINE = `dd if=/dev/zero bs=1M count=${OUTPUT_BYTES / 2 ** 20} 2>/dev/null`;
const MB = 1e6;
export function containerBenchmarks(bench: Workbench): Benchmark[] {
  const { cold, data, ours, podman } = containerEngines(bench);
  const each = (
    sample: (engine: Engine) => Promise<number>,
    engines: readonly Engine[] = [ours, podman],
  ): Contestant[] =>
    engines.map((engine) => ({
      name: engine.name,
      sample: () => {
        engine.prepare();
        return sample(engine);
      },
    }));
  return [
    {
      name: 'run --rm IMAGE true',
      unit: 'ms',
      contestants: each(
        (engine) => timeOf(() => engine.run('run', '--rm', IMAGE, 'true')),
        [ours, cold, podman],
      ),
      comparisons: [
        { of: 'tsvm', against: 'podman', as: 'ratio', atMost: 1 },
        { of: 'tsvm, cold', against: 'podman', as: 'ratio' },
        { of: 'tsvm', against: 'tsvm, cold', as: 'ratio' },
      ],
    },
    {
      name: 'run --rm -v FOLDER IMAGE true',
      unit: 'ms',
      contestants: each(
        (engine) => timeOf(() => engine.run('run', '--rm', '-v', `${data}:/data`, IMAGE, 'true')),
        [ours, cold, podman],
      ),
      comparisons: [
        { of: 'tsvm', against: 'podman', as: 'ratio' },
        { of: 'tsvm', against: 'tsvm, cold', as: 'ratio', atMost: 1 },
      ],
    },
    partsBenchmark('the parts of run --rm IMAGE true', ours, data),
    partsBenchmark('the parts of run --rm IMAGE true, cold', cold, data),
    {
      name: 'exec true in a running container',
      unit: 'ms',
      contestants: each(async (engine) => {
        const id = engine.run('run', '-d', IMAGE, 'sleep', '1000').trim();
        try {
          return await timeOf(() => engine.run('exec', id, 'true'));
        } finally {
          engine.run('rm', '-f', id);
        }
      }),
      comparisons: [{ of: 'tsvm', against: 'podman', as: 'ratio', atMost: 1.5 }],
    },
    {
      name: 'standard output of a container to a pipe',
      unit: 'MB/s',
      slow: true,
      contestants: each(async (engine) => {
        const startMs = await timeOf(() => engine.run('run', '--rm', IMAGE, 'true'));
        let bytes = 0;
        const ms = await timeOf(async () => {
          bytes = await engine.outputBytes('run', '--rm', IMAGE, 'sh', '-c', OUTPUT_LINE);
        });
        if (bytes !== OUTPUT_BYTES) throw new Error(`${bytes} of ${OUTPUT_BYTES} bytes arrived`);
        return OUTPUT_BYTES / MB / ((ms - startMs) / 1000);
      }),
      comparisons: [{ of: 'tsvm', against: 'podman', as: 'ratio', atLeast: 0.5 }],
    },
  ];
}

/** The parts of a run, by the times of its events: they add up to the whole. */
function partsBenchmark(name: string, engine: Engine, data: string): Benchmark {
  const part = (partName: string, from: string, to: string): Contestant => ({
    name: partName,
    sample: async () => {
      engine.prepare();
      const begin = Date.now();
      engine.run('run', '--rm', IMAGE, 'true');
      const times: Record<string, number> = { begin, end: Date.now() };
      const events = readFileSync(join(data, 'containers/events.log'), 'utf8').trim().split('\n');
      for (const line of events.slice(-4)) {
        const { action, timeMs } = JSON.parse(line) as { action: string; timeMs: number };
        times[action] = timeMs;
      }
      return (times[to] ?? Number.NaN) - (times[from] ?? Number.NaN);
    },
  });
  return {
    name,
    unit: 'ms',
    contestants: [
      part('command to record', 'begin', 'create'),
      part('machine, kernel, root', 'create', 'start'),
      part('process', 'start', 'die'),
      part('removal', 'die', 'destroy'),
      part('end of the command', 'destroy', 'end'),
    ],
    comparisons: [],
  };
}
