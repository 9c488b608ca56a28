/** Containers: a run that does nothing and its parts, exec, and output to a pipe; tsvm and podman. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { busyboxMembers } from '../support/agent-guest.ts';
import { makeTar } from '../support/tar-maker.ts';
import type { Benchmark, Contestant } from './benchmark.ts';
import type { Workbench } from './workbench.ts';

const IMAGE = 'bench-box';
const OUTPUT_BYTES = 512 * 2 ** 20;
const OUTPUT_LINE = `dd if=/dev/zero bs=1M count=${OUTPUT_BYTES / 2 ** 20} 2>/dev/null`;
const MB = 1e6;
/** podman with runc, which needs neither cgroups v2 nor more limits than a test host allows. */
const PODMAN_CONFIG = `[containers]
default_ulimits=["nofile=1024:1024","nproc=4096:4096"]
netns="none"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
`;

/** One of the two engines, with a store of its own that has the image. */
class Engine {
  readonly name: string;
  readonly #command: readonly string[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #archive: string;
  #ready = false;

  constructor(name: string, command: readonly string[], env: object, archive: string) {
    this.name = name;
    this.#command = command;
    this.#env = { ...process.env, ...env };
    this.#archive = archive;
  }

  prepare(): void {
    if (this.#ready) return;
    this.#ready = true;
    try {
      this.run('image', 'inspect', IMAGE);
    } catch {
      this.run('import', this.#archive, IMAGE);
    }
  }

  run(...words: readonly string[]): string {
    const [program = '', ...own] = [...this.#command, ...words];
    return execFileSync(program, own, {
      env: this.#env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Bytes of standard output that arrive by a pipe. */
  async outputBytes(...words: readonly string[]): Promise<number> {
    const [program = '', ...own] = [...this.#command, ...words];
    const child = spawn(program, own, { env: this.#env, stdio: ['ignore', 'pipe', 'ignore'] });
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
    await once(child, 'close');
    return bytes;
  }
}

async function timeOf(work: () => unknown): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

export function containerBenchmarks({ root, tsvm }: Workbench): Benchmark[] {
  const folder = join(root, 'build/bench/containers');
  mkdirSync(folder, { recursive: true });
  const archive = join(folder, 'box.tar');
  if (!existsSync(archive)) writeFileSync(archive, makeTar(busyboxMembers()));
  const podmanConfig = join(folder, 'containers.conf');
  writeFileSync(podmanConfig, PODMAN_CONFIG);
  const data = join(folder, 'data');
  const ours = new Engine(
    'tsvm',
    [tsvm],
    { TSVM_DATA_FOLDER: data, TSVM_RUNTIME_FOLDER: join(folder, 'run') },
    archive,
  );
  const podman = new Engine(
    'podman',
    ['podman', '--root', join(folder, 'podman'), '--runroot', join(folder, 'podman-run')],
    { CONTAINERS_CONF: podmanConfig },
    archive,
  );
  const engines = [ours, podman];
  const each = (sample: (engine: Engine) => Promise<number>): Contestant[] =>
    engines.map((engine) => ({
      name: engine.name,
      sample: () => {
        engine.prepare();
        return sample(engine);
      },
    }));
  return [
    {
      name: 'run --rm IMAGE true, cold',
      unit: 'ms',
      contestants: each((engine) => timeOf(() => engine.run('run', '--rm', IMAGE, 'true'))),
      comparisons: [{ of: 'tsvm', against: 'podman', as: 'ratio', atMost: 1 }],
    },
    partsBenchmark(ours, data),
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
function partsBenchmark(engine: Engine, data: string): Benchmark {
  const part = (name: string, from: string, to: string): Contestant => ({
    name,
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
    name: 'the parts of run --rm IMAGE true',
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
